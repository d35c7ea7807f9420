//go:build !linux

package main

import (
	"context"
	"errors"
)

// Containers are Linux; elsewhere the binary only has to compile for go vet.
var errOnlyLinux = errors.New("packets can be dropped on Linux only")

func runDrop(context.Context, []string) error { return errOnlyLinux }

func runHeal(context.Context, []string) error { return errOnlyLinux }
