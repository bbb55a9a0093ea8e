package fleettest

import (
	"errors"
	"os"

	"github.com/bellwethercache/bellwether/cache"
)

// Save has the process save what its memory holds to a file, and returns how many
// entries. The error is a *Failure.
func (p *Proc) Save(file string) (entries int, err error) {
	p.fleet.tb.Helper()
	err = p.call(command{Op: opSave, Value: file}, &entries)
	return entries, err
}

// Restore has the process restore what another has saved. The error is a
// *Failure.
func (p *Proc) Restore(file string) (s cache.RestoreStats, err error) {
	p.fleet.tb.Helper()
	return p.GoRestore(file).Wait()
}

// GoRestore is a Restore that is not waited for.
func (p *Proc) GoRestore(file string) *Restoring {
	p.fleet.tb.Helper()
	return &Restoring{p.send(command{Op: opRestore, Value: file})}
}

// Restoring is a Restore on its way.
type Restoring struct{ *pending }

// Wait waits until it has come back. The error is a *Failure.
func (r *Restoring) Wait() (s cache.RestoreStats, err error) {
	r.proc.fleet.tb.Helper()
	err = r.result(&s)
	return s, err
}

func (c *child) save(cmd *command) (entries int, err error) {
	f, err := os.Create(cmd.Value)
	if err != nil {
		return 0, err
	}
	entries, err = c.cache.Save(c.ctx, f, cache.SaveOptions{})
	return entries, errors.Join(err, f.Close())
}

func (c *child) restore(cmd *command) (s cache.RestoreStats, err error) {
	f, err := os.Open(cmd.Value)
	if err != nil {
		return s, err
	}
	s, err = c.cache.Restore(c.ctx, f, cache.RestoreOptions{})
	return s, errors.Join(err, f.Close())
}
