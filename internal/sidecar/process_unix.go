//go:build unix

package sidecar

import (
	"os/exec"
	"syscall"
)

// detach keeps a Ctrl-C at the terminal from cmd: its owner ends it, last.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// Pause stops the process: it accepts connections and answers nothing.
func (p *Program) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (p *Program) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
