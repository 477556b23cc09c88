package repo_test

import (
	"bytes"
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/folder"
	"github.com/certkeep/certkeep/internal/need"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob/file"
)

// withoutCertkeep runs the script that restores with age, zstd and jq alone.
type withoutCertkeep struct {
	bash, dir, identity string
	env                 []string
}

func newWithoutCertkeep(t *testing.T, dir string, id *age.X25519Identity) *withoutCertkeep {
	t.Helper()
	for _, p := range []string{"age", "zstd", "jq", "awk", "openssl"} {
		need.Program(t, p)
	}
	path := filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(path, []byte(id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &withoutCertkeep{bash: need.Program(t, "bash"), dir: dir, identity: path}
}

func (w *withoutCertkeep) run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	scratch := t.TempDir()
	cmd := exec.CommandContext(t.Context(), w.bash, append([]string{"../scripts/restore-without-certkeep.sh", w.dir, w.identity}, args...)...)
	cmd.Env = append(append(os.Environ(), "TMPDIR="+scratch), w.env...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	if left, _ := os.ReadDir(scratch); len(left) > 0 {
		t.Errorf("the script left %s, which may hold keys", left[0].Name())
	}
	return o.String(), e.String(), err
}

// restores checks that the script restores sets bit for bit, as folders that certkeep reads.
func (w *withoutCertkeep) restores(t *testing.T, samples ...*backupsettest.Sample) {
	t.Helper()
	for _, s := range samples {
		out := filepath.Join(t.TempDir(), "set")
		if _, log, err := w.run(t, s.Manifest.ID, out); err != nil || strings.Contains(log, "WARNING") || strings.Contains(log, "SIGNATURES") {
			t.Fatalf("set %s: %v\n%s", s.Manifest.ID, err, log)
		}
		for _, f := range s.Manifest.Files {
			if got, err := os.ReadFile(filepath.Join(out, f.Role.Dir(), f.Name)); err != nil || !bytes.Equal(got, s.Content(f)) {
				t.Errorf("set %s: %s: %d bytes of %d, %v", s.Manifest.ID, f.Name, len(got), f.Size, err)
			}
		}
		set, err := folder.Root(filepath.Dir(out), folder.Options{}).Open(t.Context(), "set")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Same(t.Context(), set); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(filepath.Join(out, folder.ReceiptName)); err != nil || len(b) == 0 {
			t.Errorf("receipt: %d bytes, %v", len(b), err)
		}
	}
}

func newFileWorld(t *testing.T) (*world, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repository")
	b, err := file.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return newWorld(t, b), dir
}

// Full, incremental, deduplicated, of two hosts, under two keys, after sets were forgotten and
// segments were moved and rewritten: the script restores what is in the document.
func TestRestoreWithoutCertkeep(t *testing.T) {
	t.Cleanup(repo.Shrink())
	ctx := t.Context()
	w, dir := newFileWorld(t)
	sh := newWithoutCertkeep(t, dir, w.identity)
	r := w.open()
	full := backupsettest.Full(1, 1, 150_001)
	incr := backupsettest.Incremental(full, 4, 40_000)
	second, third := laterSample(full, 5, 0, 50_000, 100_000), laterSample(full, 6, 25_000)
	mustPut(t, r, full, incr, second)
	sh.restores(t, incr, second)

	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	root := w.open(noHost)
	if err := root.AddRecipient(ctx, recipient(other)); err != nil {
		t.Fatal(err)
	}
	if err := w.open(noHost).RemoveRecipient(ctx, other.Recipient().String(), func(repo.Recipient) (age.Recipient, error) { return w.identity.Recipient(), nil }); err != nil {
		t.Fatal(err)
	}
	mustPut(t, w.open(asHost(w.addHost("backup2", nil)), noIdentity), third)
	sh.restores(t, full, third) // of both keys
	gone := &withoutCertkeep{bash: sh.bash, dir: dir, identity: filepath.Join(t.TempDir(), "gone")}
	if err := os.WriteFile(gone.identity, []byte(other.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The slot of the old key is there until a prune: what was stored then stays readable to it, and no more.
	if _, log, err := gone.run(t, third.Manifest.ID, filepath.Join(t.TempDir(), "set")); err == nil {
		t.Errorf("an identity that was removed restores a later set:\n%s", log)
	}

	packs := func() map[string]bool {
		m := map[string]bool{}
		for key := range snapshot(t, w.blob) {
			if strings.HasPrefix(key, "packs/") {
				m[key] = true
			}
		}
		return m
	}
	before := packs()
	r = w.open(noHost)
	if err := r.Forget(ctx, full.Manifest.ID, incr.Manifest.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 { // one notes, one deletes
		if _, err := r.Prune(ctx, repo.PruneOptions{MaxUnused: 0.01}); err != nil {
			t.Fatal(err)
		}
	}
	after, deleted := packs(), 0
	for key := range before {
		if !after[key] {
			deleted++
		}
	}
	if deleted == 0 {
		t.Error("no pack was deleted: that packs may move is not tested")
	}
	sh.restores(t, second, third)

	list, log, err := sh.run(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	for set, want := range map[string]string{full.Manifest.ID: "forgotten", incr.Manifest.ID: "forgotten", second.Manifest.ID: "full", third.Manifest.ID: "full"} {
		found := false
		for line := range strings.Lines(list) {
			found = found || strings.Contains(line, set) && strings.Contains(line, want)
		}
		if !found {
			t.Errorf("the list does not say of %s that it is %s:\n%s", set, want, list)
		}
	}
}

// The script refuses what is damaged, and leaves no directory that looks like a set.
func TestRestoreWithoutCertkeepRefuses(t *testing.T) {
	t.Cleanup(repo.Shrink())
	s := backupsettest.Full(1, 1, 50_000)
	for name, c := range map[string]struct {
		object string // the beginning of its key
		want   string
	}{
		"segment":   {"packs/", "damaged"},
		"metadata":  {"meta/", "damaged"},
		"signature": {"journal/", "not signed"},
	} {
		t.Run(name, func(t *testing.T) {
			w, dir := newFileWorld(t)
			sh := newWithoutCertkeep(t, dir, w.identity)
			mustPut(t, w.open(), s)
			for key, b := range snapshot(t, w.blob) {
				if !strings.HasPrefix(key, c.object) || strings.HasPrefix(key, "journal/root/") {
					continue
				}
				raw := []byte(b)
				if c.object == "journal/" { // what is signed, so that it stays JSON
					raw = bytes.Replace(raw, []byte(`"bytes":`), []byte(`"bytes":1`), 1)
				} else {
					raw[len(raw)-1] ^= 1
				}
				if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(key)), raw, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out := filepath.Join(t.TempDir(), "set")
			_, log, err := sh.run(t, s.Manifest.ID, out)
			if err == nil || !strings.Contains(log, c.want) {
				t.Errorf("%v\n%s", err, log)
			}
			if _, err := os.Stat(filepath.Join(out, folder.ManifestName)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("there is a manifest: %v", err)
			}
		})
	}
	t.Run("root key", func(t *testing.T) {
		w, dir := newFileWorld(t)
		sh := newWithoutCertkeep(t, dir, w.identity)
		sh.env = []string{"CERTKEEP_ROOT=" + strings.Repeat("0", 64)}
		if _, log, err := sh.run(t); err == nil || !strings.Contains(log, "root key") {
			t.Errorf("%v\n%s", err, log)
		}
	})
}

// A host that was revoked as of an entry: what it wrote later is not there for the script either.
func TestRestoreWithoutCertkeepRevoked(t *testing.T) {
	w, dir := newFileWorld(t)
	sh := newWithoutCertkeep(t, dir, w.identity)
	one, two := backupsettest.Full(1, 1, 5000), backupsettest.Full(2, 2, 5000)
	r := w.open()
	mustPut(t, r, one)
	entries, err := os.ReadDir(filepath.Join(dir, "journal", w.host.Host))
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, r, two)
	if err := w.open(noHost).RevokeHost(context.Background(), w.host.Host, "stolen", uint64(len(entries))); err != nil {
		t.Fatal(err)
	}
	sh.restores(t, one)
	if _, log, err := sh.run(t, two.Manifest.ID, filepath.Join(t.TempDir(), "set")); err == nil || !strings.Contains(log, "no set") {
		t.Errorf("%v\n%s", err, log)
	}
}

// The document names each type of record, each member of what is JSON, and each directory.
func TestFormatDocument(t *testing.T) {
	b, err := os.ReadFile("../docs/repository-format.md")
	if err != nil {
		t.Fatal(err)
	}
	doc, words := string(b), 0
	names := func(what, name string) {
		words++
		if !strings.Contains(doc, "`"+name+"`") {
			t.Errorf("docs/repository-format.md does not name `%s`, %s", name, what)
		}
	}
	for _, dir := range []string{"journal/", "meta/", "packs/", "leases/", "certkeep-repository.json"} {
		names("where objects are", dir)
	}
	for _, path := range []string{"records.go", "prune.go", "layout.go", "lease.go", "keys.go", "open.go", "internal/journal/entry.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if strings.HasPrefix(n.Names[0].Name, "type") && len(n.Values) == 1 {
					if lit, ok := n.Values[0].(*ast.BasicLit); ok {
						s, _ := strconv.Unquote(lit.Value)
						names("a type of record", s)
					}
				}
			case *ast.Field:
				if n.Tag == nil {
					break
				}
				_, tag, _ := strings.Cut(n.Tag.Value, `json:"`)
				if name, _, _ := strings.Cut(strings.Trim(tag, "`\""), ","); name != "-" && name != "" {
					names("a member in "+path, strings.Trim(name, `"`))
				}
			}
			return true
		})
	}
	if words < 60 {
		t.Errorf("only %d names were found in the code", words)
	}
	for _, d := range []struct {
		d    time.Duration
		text string
	}{{repo.LeaseTime, "30 minutes"}, {repo.DefaultGrace, "60 minutes"}, {repo.PartialLife, "7 days"}} {
		n, unit, _ := strings.Cut(d.text, " ")
		each := map[string]time.Duration{"minutes": time.Minute, "days": 24 * time.Hour}[unit]
		if i, err := strconv.Atoi(n); err != nil || time.Duration(i)*each != d.d || !strings.Contains(doc, d.text) {
			t.Errorf("the document does not say %s, and the code says %v", d.text, d.d)
		}
	}
}
