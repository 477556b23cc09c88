package kerberos

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/certkeep/certkeep/internal/gss"
)

// Initiator is the client's side of a security context, in DCE style.
type Initiator struct {
	session
	client *Client
	spns   []string
	state  int

	op     string // for errors
	apRep  *sealer
	time   stamp
	seq    uint32
	subkey *key
	server principal
}

// Initiator returns an initiator for one context. The service names are tried
// in order, for example "RPCSS/ca.example.test" and "host/ca.example.test": the
// first one that the cache has a ticket for, else the first one that the KDC
// knows.
func (c *Client) Initiator(spns ...string) *Initiator {
	return &Initiator{client: c, spns: spns}
}

// Step gets a ticket and returns the AP-REQ; then it takes the server's AP-REP,
// and returns the third leg, with which it is done. Errors are of type [*Error].
func (i *Initiator) Step(ctx context.Context, in []byte) (out []byte, done bool, err error) {
	switch i.state {
	case waitAPReq:
		out, err = i.begin(ctx)
		i.state = waitAPRep
	case waitAPRep:
		out, err = i.finish(in)
		i.state, done = established, true
	default:
		err = &Error{Op: i.op, Err: errors.New("one token too many")}
	}
	if err != nil {
		i.state = failed
		return nil, false, err
	}
	return out, done, nil
}

func (i *Initiator) begin(ctx context.Context) ([]byte, error) {
	t, err := i.client.serviceTicket(ctx, i.spns)
	if err != nil {
		return nil, err
	}
	i.op = "authenticate to " + t.server.String()
	i.server = t.server
	now := i.client.now()
	i.time, i.seq = stampOf(now), randomSeq()
	checksum := make([]byte, gssChecksumLen) // channel bindings: none
	binary.LittleEndian.PutUint32(checksum, 16)
	binary.LittleEndian.PutUint32(checksum[20:], gssDCE|gssMutual|gssReplay|gssSequence|gssConf|gssInteg)
	i.subkey = randomKey(t.key.et)
	auth, err := authenticator(t.client, i.time, types.Checksum{CksumType: gssChecksum, Checksum: checksum}, i.seq, i.subkey)
	if err != nil {
		return nil, &Error{Op: i.op, Err: err}
	}
	i.apRep = t.key.sealer(usageAPRep)
	out, err := apReq(t.raw, true, t.key.et, t.key.sealer(usageAPReqAuth).seal(auth))
	if err != nil {
		return nil, &Error{Op: i.op, Err: err}
	}
	return out, nil
}

// authenticator returns the encoding of an authenticator (RFC 4120 section
// 5.5.1). seq 0 and subkey nil are none.
func authenticator(client principal, at stamp, sum types.Checksum, seq uint32, subkey *key) ([]byte, error) {
	a := types.Authenticator{
		AVNO: 5, CRealm: client.realm, CName: principalName(client.name),
		Cksum: sum, Cusec: int(at.usec), CTime: time.Unix(at.sec, 0).UTC(), SeqNumber: int64(seq),
	}
	if subkey != nil {
		a.SubKey = types.EncryptionKey{KeyType: subkey.et.id, KeyValue: subkey.value}
	}
	return a.Marshal()
}

// finish checks the server's AP-REP: it has decrypted our authenticator if it
// can repeat our time (RFC 4120 section 3.2.5).
func (i *Initiator) finish(token []byte) ([]byte, error) {
	msg, err := unframe(token)
	if err != nil {
		return nil, i.protocol("server's answer is %w", err)
	}
	if msg[0] == octetKRBError {
		return nil, i.refused(msg)
	}
	part, err := openAPRep(msg, i.apRep)
	if err != nil {
		return nil, i.protocol("%w", err)
	}
	switch {
	case part.time != i.time:
		return nil, i.protocol("server has not proven that it knows its key")
	case !part.hasSeq:
		return nil, i.protocol("server sent no sequence number")
	}
	subkey := i.subkey
	if part.subkeyID != 0 {
		if subkey, err = newKey(part.subkeyID, part.subkey); err != nil {
			return nil, i.protocol("server's subkey: %w", err)
		}
		defer subkey.wipe()
		clear(part.subkey)
	}
	defer i.subkey.wipe()
	third := apRepPart{time: stampOf(i.client.now()), hasSeq: true, seqNumber: part.seqNumber}
	plain, err := third.marshal()
	if err != nil {
		return nil, i.protocol("%w", err)
	}
	out, err := apRep(i.apRep.et, i.apRep.seal(plain))
	if err != nil {
		return nil, i.protocol("%w", err)
	}
	i.establish(subkey, false, part.subkeyID != 0, i.seq, part.seqNumber)
	i.peer = gss.Peer{Mechanism: "kerberos", User: join(i.server.name), Domain: i.server.realm}
	return out, nil
}

// protocol is an error about a server that does not prove who it is.
func (i *Initiator) protocol(format string, args ...any) error {
	return refuse(i.op, "", format, args...)
}

// refused is the error for a KRB-ERROR of the server. It is not authenticated,
// so it says no more than why there will be no session.
func (i *Initiator) refused(msg []byte) error {
	var k messages.KRBError
	if err := guard("server's KRB-ERROR", func() error { return k.Unmarshal(msg) }); err != nil {
		return i.protocol("%w", err)
	}
	return fromKRBError(i.op, &k, i.client.now())
}

func principalName(name []string) types.PrincipalName {
	t := int32(1) // NT-PRINCIPAL
	if len(name) > 1 {
		t = 2 // NT-SRV-INST
	}
	return types.PrincipalName{NameType: t, NameString: name}
}
