package repo_test

import (
	"testing"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
)

func TestSuite(t *testing.T) {
	backupsettest.Run(t, backupsettest.Options{
		New: func(t *testing.T) func() backupset.Store {
			w := newWorld(t, newTemp())
			return func() backupset.Store { return w.open() }
		},
		Allocates: 3,
	})
}
