package peertest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/csra"
	"github.com/certkeep/certkeep/internal/need"
)

// What Wireshark 4.0 warns of although it is as it should be: it does not skip
// the octets that align what follows the list in the answer to ServerAlive2.
var misaligned = []string{"Long frame"}

// recordBackup takes a full backup with our own client, and returns what
// Wireshark makes of it.
func recordBackup(t *testing.T, s serving, o csra.Options) (*authority, *recorder) {
	t.Helper()
	s.recorder = newRecorder(t)
	s.host, s.database = mitHost, 1<<20
	a := serveAuthority(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := a.dial(ctx, t, mitHost, o)
	if err != nil {
		t.Fatal(err)
	}
	a.backUp(ctx, t, c, certadm.BackupFull)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	return a, s.recorder
}

// dissected checks a backup that could be decrypted: the object's life, and that
// the fragments of what was read, put together, are the database.
func (a *authority) dissected(t *testing.T, frames []dissection) {
	t.Helper()
	if n := opened(t, frames); n < 100 {
		t.Errorf("only %d sealed messages", n)
	}
	for _, want := range []string{
		"ServerAlive2 request", "ServerAlive2 response", "ServerAlive response -> S_OK",
		"RemoteCreateInstance request", "RemoteCreateInstance response",
		"RemRelease request Cnt=2 Refs=5-0,5-0", "RemRelease response -> S_OK",
	} {
		found := false
		for _, d := range frames {
			found = found || strings.HasPrefix(d["_ws.col.Info"], want)
		}
		if !found {
			t.Errorf("no frame is a %s", want)
		}
	}

	var read []byte
	reassembled := 0
	for _, stub := range answers(t, frames, "25") {
		if len(stub) < 20 {
			t.Fatalf("BackupReadFile answers %x", stub)
		}
		size := int(binary.LittleEndian.Uint32(stub[8:])) // of the buffer
		end := 12 + size + -size&3
		if len(stub) < end+8 {
			t.Fatalf("BackupReadFile answers %d bytes for a buffer of %d", len(stub), size)
		}
		n := int(binary.LittleEndian.Uint32(stub[end:]))
		if n > size {
			t.Fatalf("BackupReadFile read %d bytes into a buffer of %d", n, size)
		}
		read = append(read, stub[12:12+n]...)
	}
	for _, d := range frames {
		if d["dcerpc.reassembled.length"] != "" {
			reassembled++
		}
	}
	unc, _ := a.Locations().Find(certadm.FileDatabase)
	database := a.file(t, unc)
	if len(read) < int(database.size) {
		t.Fatalf("%d bytes were read, and the database has %d", len(read), database.size)
	}
	sum := sha256.Sum256(read[:database.size])
	if hex.EncodeToString(sum[:]) != database.sum {
		t.Error("what was read first is not the database")
	}
	if reassembled < 2 {
		t.Errorf("%d messages were reassembled", reassembled)
	}
}

// answers returns the decrypted responses to an operation. The last fragment's
// frame has all of them, put together.
func answers(t *testing.T, frames []dissection, opnum string) (stubs [][]byte) {
	t.Helper()
	for _, d := range frames {
		whole := d["dcerpc.reassembled.length"] != "" || strings.Contains(d["_ws.col.Info"], "Fragment: Single")
		if d["dcerpc.pkt_type"] != "2" || d["dcerpc.opnum"] != opnum || !whole {
			continue
		}
		b, err := hex.DecodeString(d["dcerpc.decrypted_stub_data"])
		if err != nil {
			t.Fatal(err)
		}
		stubs = append(stubs, b)
	}
	return stubs
}

// TestWiresharkNTLM: Wireshark, given the password, opens every message of a
// backup by our client from our server, and finds nothing malformed.
func TestWiresharkNTLM(t *testing.T) {
	t.Parallel()
	need.Program(t, "tshark", "tshark")
	a, r := recordBackup(t, serving{}, csra.Options{Credentials: csra.NTLM(caUser, caDomain, []byte(caPassword)), RawMechanism: true})
	frames := tshark(t, r, "-o", "ntlmssp.nt_password:"+caPassword)
	wellFormed(t, frames, misaligned...)
	a.dissected(t, frames)

	// With another password it makes nothing of the last call: what is proven above
	// is the decryption, too.
	if all := infos(tshark(t, r, "-o", "ntlmssp.nt_password:another")); strings.Contains(all, "RemRelease response -> S_OK") {
		t.Errorf("this was opened with a wrong password:\n%s", all)
	}
}

// TestWiresharkSPNEGO: the negotiation of NTLM is well-formed, and each side
// signs the list of mechanisms. (What follows stays closed: Wireshark 4.0 does
// not rewind the ciphers after that. Samba does, in both directions.)
func TestWiresharkSPNEGO(t *testing.T) {
	t.Parallel()
	need.Program(t, "tshark", "tshark")
	_, r := recordBackup(t, serving{}, csra.Options{Credentials: csra.NTLM(caUser, caDomain, []byte(caPassword))})
	frames := tshark(t, r)
	wellFormed(t, frames)
	mics := 0
	for _, d := range frames {
		if d["spnego.mechListMIC"] != "" {
			mics++
		}
	}
	if want := 2 * 2; mics != want {
		t.Errorf("%d mechListMICs, not %d: one of each side of both connections", mics, want)
	}
}

// TestWiresharkKerberos: as with NTLM, given the service's keytab.
func TestWiresharkKerberos(t *testing.T) {
	t.Parallel()
	need.Program(t, "tshark", "tshark")
	k, keytab := mitRealm(t)
	for _, raw := range []bool{false, true} {
		t.Run(fmt.Sprintf("SPNEGO %v", !raw), func(t *testing.T) {
			a, r := recordBackup(t, serving{keytab: keytab}, csra.Options{
				Credentials:  csra.KerberosPassword(mitUser+"@"+k.Realm, []byte(mitPassword)),
				RawMechanism: raw, Krb5Conf: k.Config,
			})
			frames := tshark(t, r, "-o", "kerberos.decrypt:TRUE", "-o", "kerberos.file:"+keytab)
			// The ticket's signature by the KDC cannot be checked with the service's key.
			wellFormed(t, frames, append([]string{"Missing KDC"}, misaligned...)...)
			a.dissected(t, frames)
		})
	}
}

// TestWiresharkImpacket: the activation by a client that sends an even number of
// properties is dissected whole.
func TestWiresharkImpacket(t *testing.T) {
	t.Parallel()
	need.Program(t, "tshark", "tshark")
	needImpacket(t)
	r := newRecorder(t)
	a := serveAuthority(t, serving{recorder: r})
	j := a.job(t)
	j.Alive = false
	rep := impacket(t, j)
	rep.check(t, a, j, true)
	frames := tshark(t, r, "-o", "ntlmssp.nt_password:"+caPassword)
	wellFormed(t, frames)
	if !strings.Contains(infos(frames), "RemQueryInterface response S_OK[1] E_NOINTERFACE[2] -> S_FALSE") {
		t.Errorf("no answer to RemQueryInterface in:\n%s", infos(frames))
	}
	opened(t, frames)
}

func infos(frames []dissection) string {
	var b strings.Builder
	for _, d := range frames {
		if d["_ws.col.Protocol"] != "DCERPC" && d["_ws.col.Protocol"] != "TCP" {
			fmt.Fprintf(&b, "%s %s\n", d["_ws.col.Protocol"], d["_ws.col.Info"])
		}
	}
	return b.String()
}
