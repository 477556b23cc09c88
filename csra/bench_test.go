package csra

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rc4"
	"crypto/sha1"
	"hash"
	"io"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/kerberos/kdctest"
)

// large is a Service whose database has any size and takes no space.
type large struct {
	*fake
	size int64
}

func newLarge(size int64) large { return large{newFake(), size} }

// pattern is what it consists of.
var pattern = func() []byte {
	b := make([]byte, 4<<20)
	for i := range b {
		b[i] = byte(i * 7 >> (i & 7))
	}
	return b
}()

func (l large) BackupPrepare(ctx context.Context, t certadm.BackupType) (certadm.Backup, error) {
	_, err := l.fake.BackupPrepare(ctx, t)
	return l, err
}

func (l large) OpenFile(context.Context, string, int) (certadm.BackupFile, error) {
	return &largeFile{size: l.size, left: l.size}, nil
}

type largeFile struct{ size, left int64 }

func (f *largeFile) Size() int64  { return f.size }
func (f *largeFile) Close() error { return nil }
func (f *largeFile) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	at := (f.size - f.left) % int64(len(pattern))
	n := copy(p[:min(int64(len(p)), f.left)], pattern[at:])
	f.left -= int64(n)
	return n, nil
}

// fragmentData is how much data a fragment of 5840 bytes has, in whole blocks.
const fragmentData = 5728

// benchFile is how much is read for each measurement.
const benchFile = 64 << 20

// BenchmarkBackupRead reads a database over the loopback address, sealed, and in
// the same run has one core do the cipher and the MAC alone over the same buffers,
// fragment by fragment: %ofcipher is the rate of the first in parts of that of the
// second. Where others use the machine as well, %cpu-in-cipher says more: how much
// of the processor time of both sides the cipher and the MAC need anyway.
func BenchmarkBackupRead(b *testing.B) {
	b.Run("NTLM", func(b *testing.B) {
		s := serveTCP(b, ServerOptions{NTLM: testSecrets.server(), Open: openLarge})
		c, _ := s.mustDial(b, nil)
		stream, err := rc4.NewCipher(pattern[:16])
		if err != nil {
			b.Fatal(err)
		}
		benchRead(b, c, stream.XORKeyStream, hmac.New(md5.New, pattern[:16]))
	})
	b.Run("KerberosAES256", func(b *testing.B) {
		k := startRealm(b, kdctest.Options{Etypes: []string{"aes256-cts-hmac-sha1-96"}})
		s := serveTCP(b, ServerOptions{Keytab: k.service, Open: openLarge})
		c, _ := s.mustDial(b, k.as(0))
		block, err := aes.NewCipher(pattern[:32])
		if err != nil {
			b.Fatal(err)
		}
		benchRead(b, c, cipher.NewCBCEncrypter(block, pattern[:16]).CryptBlocks, hmac.New(sha1.New, pattern[:32]))
	})
}

func openLarge(context.Context, Caller) (certadm.Service, error) { return newLarge(benchFile), nil }

func benchRead(b *testing.B, c *Client, crypt func(dst, src []byte), mac hash.Hash) {
	session, err := c.BackupPrepare(b.Context(), certadm.BackupFull)
	if err != nil {
		b.Fatal(err)
	}
	defer session.End(b.Context())
	if _, err := session.DatabaseNames(b.Context()); err != nil {
		b.Fatal(err)
	}
	buffer := bytes.Clone(pattern)
	var moved, bare, movedCPU, bareCPU time.Duration
	var sum [sha1.Size]byte
	b.SetBytes(benchFile)
	b.ReportAllocs()
	for b.Loop() {
		start, used := time.Now(), cpuTime()
		f, err := session.OpenFile(b.Context(), fakeDB, 4<<20)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, f)
		if err != nil || n != benchFile {
			b.Fatalf("%d bytes, %v", n, err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
		moved, movedCPU = moved+time.Since(start), movedCPU+cpuTime()-used
		start, used = time.Now(), cpuTime()
		for range benchFile / len(buffer) {
			for rest := buffer; len(rest) > 0; {
				fragment := rest[:min(fragmentData, len(rest))]
				rest = rest[len(fragment):]
				mac.Reset()
				mac.Write(fragment)
				mac.Sum(sum[:0])
				crypt(fragment, fragment)
			}
		}
		bare, bareCPU = bare+time.Since(start), bareCPU+cpuTime()-used
	}
	rate := func(d time.Duration) float64 { return benchFile * float64(b.N) / d.Seconds() / 1e6 }
	b.ReportMetric(rate(moved), "moved-MB/s")
	b.ReportMetric(rate(bare), "cipher-MB/s")
	b.ReportMetric(100*bare.Seconds()/moved.Seconds(), "%ofcipher")
	if movedCPU > 0 {
		// Both sides do it once each, on a core of their own if there are two.
		b.ReportMetric(200*bareCPU.Seconds()/movedCPU.Seconds(), "%cpu-in-cipher")
	}
	b.ReportMetric(0, "MB/s") // it would be of both
}
