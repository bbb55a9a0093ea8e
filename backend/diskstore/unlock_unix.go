//go:build unix && !solaris && !aix

package diskstore

import (
	"os"
	"syscall"
)

// unlock gives up bbolt's lock of a file.
func unlock(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
