package folder_test

import (
	"testing"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/folder"
	"github.com/certkeep/certkeep/internal/durable"
)

func TestStore(t *testing.T) {
	backupsettest.Run(t, backupsettest.Options{
		New: func(t *testing.T) func() backupset.Store {
			dir := t.TempDir()
			return func() backupset.Store { return folder.Root(dir, folder.Options{}) }
		},
		OnFS:  func(fsys durable.FS) backupset.Store { return folder.Root("/sets", folder.Options{FS: fsys}) },
		Named: true,
	})
}
