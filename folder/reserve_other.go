//go:build !linux

package folder

import "github.com/certkeep/certkeep/internal/durable"

func reserve(durable.File, int64) error { return nil }

func startWriting(_ durable.File, begun, _ int64) int64 { return begun }
