//go:build !linux

package servers

import (
	"context"
	"errors"
)

// The rest is never called, because findProgram skips the test first.

var errNotLinux = errors.New("servers are started on Linux only")

type unixUser struct{ uid, gid int }

func lookupUser(string) *unixUser { return nil }

type process struct{}

func start(program) (*process, error) { return nil, errNotLinux }
func run(program) error               { return errNotLinux }

func (*process) awaitReady(func(context.Context) error) error { return errNotLinux }
func (*process) kill() error                                  { return errNotLinux }
func (*process) shutDown() error                              { return errNotLinux }
func (*process) pause() error                                 { return errNotLinux }
func (*process) resume() error                                { return errNotLinux }
