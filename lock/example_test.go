package lock_test

import (
	"context"
	"fmt"

	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/lock/memlock"
)

func ExampleLocker_Acquire() {
	locker, err := lock.New(new(memlock.Driver), nil)
	if err != nil {
		panic(err)
	}
	defer locker.Close()
	report := func(ctx context.Context) error {
		fmt.Println("reporting, lease lost:", ctx.Err() != nil)
		return nil
	}
	nightly := func(ctx context.Context) error {
		lease, err := locker.Acquire(ctx, "nightly-report")
		if err != nil {
			return err
		}
		defer lease.Release(ctx)
		return report(lease.Context()) // ends when the lease is lost
	}
	fmt.Println(nightly(context.Background()))
	// Output:
	// reporting, lease lost: false
	// <nil>
}

func ExampleLocker_Do() {
	locker, err := lock.New(new(memlock.Driver), nil)
	if err != nil {
		panic(err)
	}
	defer locker.Close()
	err = locker.Do(context.Background(), "nightly-report", func(ctx context.Context) error {
		_, err := locker.TryAcquire(ctx, "nightly-report")
		fmt.Println(err)
		return nil
	})
	fmt.Println(err)
	// Output:
	// lock: lease is held by another
	// <nil>
}
