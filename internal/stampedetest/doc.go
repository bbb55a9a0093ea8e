// Package stampedetest has nothing but tests: that stampede protection keeps
// its promises between real processes on a real server. Each has been seen to
// fail without what it tests.
package stampedetest
