//go:build !unix

package sidecar

import (
	"errors"
	"os/exec"
)

func detach(*exec.Cmd) {}

// Pause is not supported here.
func (p *Program) Pause() error { return errors.ErrUnsupported }

// Resume is not supported here.
func (p *Program) Resume() error { return errors.ErrUnsupported }
