package winetrial

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/certkeep/certkeep/internal/winetest"
)

// A repository on a Windows disk: made, written twice, verified, drilled, pruned.
func TestRepository(t *testing.T) {
	winetest.Seldom(t)
	p := winetest.New(t)
	m := &machine{t, p, filepath.Join(p.Drive(), "certkeep.exe")}
	if _, err := os.Stat(m.certkeep); err != nil {
		place(t, winetest.Build(t, "../.."), m.certkeep)
	}
	m.want(0, []string{"ca", "init", `C:\pki2`, "--name", "Repository CA"})
	m.want(10, words(`list -r C:\repo`))
	m.want(0, words(`init -r C:\repo --identity-out C:\restore.key`), "root key")
	m.want(0, words(`backup ca:C:\pki2 -r C:\repo`), "full")
	m.want(0, words(`ca issue C:\pki2 --subject CN=one.example`))
	m.want(0, words(`backup ca:C:\pki2 -r C:\repo`), "incremental (continues ")
	m.want(0, words(`backup ca:C:\pki2 -r C:\repo --type full`))
	m.want(0, words(`verify -r C:\repo --level sealed`), "no damage found")
	m.want(12, words(`drill -r C:\repo`))
	m.want(0, words(`drill -r C:\repo --identity C:\restore.key`), "no damage found")
	m.want(0, words(`forget -r C:\repo --keep-last 1`))
	m.want(0, words(`prune -r C:\repo --grace 0`), "freed")
	m.want(0, words(`verify -r C:\repo --identity C:\restore.key`), "no damage found")
	m.want(0, words(`list -r C:\repo --max-age 1h --level database`))
	m.want(0, words(`doctor -r C:\repo`))
}
