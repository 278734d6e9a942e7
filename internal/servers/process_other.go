//go:build !linux

package servers

import (
	"context"
	"errors"
)

// What follows is never called: [find] skips the test before.

var errNotLinux = errors.New("servers are started on Linux only")

type owner struct{ uid, gid int }

func ownerFor(string) *owner { return nil }

type process struct{}

func start(program) (*process, error) { return nil, errNotLinux }
func run(program) error               { return errNotLinux }

func (*process) await(func(context.Context) error) error { return errNotLinux }
func (*process) kill() error                             { return errNotLinux }
func (*process) end() error                              { return errNotLinux }
func (*process) pause() error                            { return errNotLinux }
func (*process) resume() error                           { return errNotLinux }
