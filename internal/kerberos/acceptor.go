package kerberos

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/messages"

	"github.com/certkeep/certkeep/internal/gss"
)

// DefaultMaxSkew is how far clocks may be apart unless told otherwise.
const DefaultMaxSkew = 5 * time.Minute

// AcceptorConfig is what acceptors share. Making one costs nothing; a server
// makes one for each context from the same configuration.
type AcceptorConfig struct {
	// Keytab has the keys of the service. A ticket for any of its principals
	// is accepted.
	Keytab *Keytab

	// Realms lists realms whose clients are accepted beside those of the
	// service's own realm. What a foreign KDC says of its users is only as good
	// as that KDC, so these are named one by one.
	Realms []string

	// MaxSkew is how far the client's clock may be off; 0 is [DefaultMaxSkew].
	MaxSkew time.Duration

	// Replay finds authenticators that were used before. It should be shared
	// by all acceptors of a keytab; nil is none.
	Replay *ReplayCache

	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Acceptor is the server's side of a security context. It takes an AP-REQ,
// raw or framed, and answers with an AP-REP that has a subkey of the session
// key's encryption type; then it takes the client's AP-REP.
//
// Every refusal wraps [gss.ErrLogon]. Its text is for the server's log.
type Acceptor struct {
	session
	c     AcceptorConfig
	state int

	et         *etype
	ticketKey  *sealer // session key, usage of AP-REP
	subkey     *key
	seq, peers uint32
	client     gss.Peer
}

// NewAcceptor returns an acceptor for one context.
func NewAcceptor(c AcceptorConfig) *Acceptor {
	if c.MaxSkew <= 0 {
		c.MaxSkew = DefaultMaxSkew
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Acceptor{c: c}
}

const (
	waitAPReq = iota
	waitAPRep
	established
	failed
)

// Step takes the client's token: the AP-REQ first, for which it returns the
// AP-REP to send, then the third leg, with which it is done.
func (a *Acceptor) Step(_ context.Context, in []byte) (out []byte, done bool, err error) {
	switch a.state {
	case waitAPReq:
		out, err = a.accept(in)
		a.state = waitAPRep
	case waitAPRep:
		err = a.complete(in)
		a.state, done = established, true
	default:
		return nil, false, errors.New("kerberos: acceptor: one token too many")
	}
	if err != nil {
		a.state = failed
		return nil, false, fmt.Errorf("kerberos: acceptor: %w: %w", gss.ErrLogon, err)
	}
	return out, done, nil
}

// request is what an AP-REQ holds once it is decrypted.
type request struct {
	client     principal
	sessionKey *key
	end        time.Time
	time       stamp
	when       time.Time
	seq        uint32
	flags      uint32 // of the GSS checksum
	raw        []byte // encrypted authenticator
}

func (a *Acceptor) accept(token []byte) ([]byte, error) {
	msg, err := unframe(token)
	if err != nil {
		return nil, fmt.Errorf("AP-REQ: %w", err)
	}
	r, err := a.open(msg)
	if err != nil {
		return nil, err
	}
	if r.flags&gssMutual == 0 || r.flags&gssDCE == 0 {
		return nil, errors.New("client did not ask for mutual authentication in DCE style")
	}
	now := a.c.Now()
	if d := r.when.Sub(now); d > a.c.MaxSkew || d < -a.c.MaxSkew {
		return nil, fmt.Errorf("client's clock is off by %v", d.Round(time.Second))
	}
	if a.c.Replay != nil && !a.c.Replay.add(r.raw, now, r.when.Add(a.c.MaxSkew)) {
		return nil, errors.New("AP-REQ was replayed")
	}
	a.et = r.sessionKey.et
	a.ticketKey = r.sessionKey.sealer(usageAPRep)
	a.subkey = randomKey(a.et)
	a.seq, a.peers = randomSeq(), r.seq
	a.client = gss.Peer{Mechanism: "kerberos", User: join(r.client.name), Domain: r.client.realm}
	part := apRepPart{time: r.time, subkeyID: a.et.id, subkey: a.subkey.value, hasSeq: true, seqNumber: a.seq}
	plain, err := part.marshal()
	if err != nil {
		return nil, err
	}
	return apRep(a.et, a.ticketKey.seal(plain))
}

// complete checks the third leg: an AP-REP that has our sequence number in it
// (MS-KILE section 3.4.5.1). Only who has the session key can have read that
// number and made this.
func (a *Acceptor) complete(token []byte) error {
	part, err := openAPRep(token, a.ticketKey)
	if err != nil {
		return fmt.Errorf("third leg: %w", err)
	}
	if !part.hasSeq || part.seqNumber != a.seq {
		return errors.New("third leg: sequence number is not ours")
	}
	if part.subkeyID != 0 {
		return errors.New("third leg: has a subkey")
	}
	a.establish(a.subkey, true, true, a.seq, a.peers)
	a.subkey.wipe()
	a.peer = a.client
	return nil
}

// openAPRep decrypts an AP-REP.
func openAPRep(token []byte, s *sealer) (*apRepPart, error) {
	msg, err := unframe(token)
	if err != nil {
		return nil, fmt.Errorf("AP-REP: %w", err)
	}
	cipher, err := parseAPRep(msg, s.et)
	if err != nil {
		return nil, fmt.Errorf("AP-REP: %w", err)
	}
	plain, err := s.open(cipher)
	if err != nil {
		return nil, errors.New("AP-REP was not made with the session key")
	}
	part, err := parseAPRepPart(plain)
	if err != nil {
		return nil, fmt.Errorf("AP-REP: %w", err)
	}
	return part, nil
}

// open decrypts an AP-REQ and checks all of it that needs no state.
func (a *Acceptor) open(msg []byte) (*request, error) {
	var req messages.APReq
	if len(msg) == 0 || msg[0] != octetAPReq {
		return nil, errors.New("token is no AP-REQ")
	}
	if err := guard("AP-REQ", func() error { return req.Unmarshal(msg) }); err != nil {
		return nil, err
	}
	if req.PVNO != 5 || req.Ticket.TktVNO != 5 {
		return nil, errors.New("AP-REQ is of another protocol version")
	}
	if req.APOptions.At(flags.APOptionUseSessionKey) == 1 {
		return nil, errors.New("user-to-user tickets are not accepted")
	}
	t := &req.Ticket
	service := unparse(t.SName.NameString, t.Realm)
	if etypes[t.EncPart.EType] == nil {
		return nil, fmt.Errorf("ticket for %s: %w (type %d)", service, errEtype, t.EncPart.EType)
	}
	if a.c.Keytab == nil {
		return nil, errors.New("there is no keytab")
	}
	plain, ok := a.c.Keytab.openTicket(t.Realm, t.EncPart.EType, t.EncPart.KVNO, t.EncPart.Cipher)
	if !ok {
		return nil, fmt.Errorf("no key in the keytab opens the ticket for %s, key version %d, %s",
			service, t.EncPart.KVNO, etypes[t.EncPart.EType].name)
	}
	defer clear(plain)
	var enc messages.EncTicketPart
	if err := guard("ticket", func() error { return enc.Unmarshal(plain) }); err != nil {
		return nil, err
	}
	if err := a.checkTicket(t, &enc); err != nil {
		return nil, err
	}
	if err := checkAccount(enc.CName.NameString, enc.AuthorizationData); err != nil {
		return nil, err
	}
	sk, err := newKey(enc.Key.KeyType, enc.Key.KeyValue)
	clear(enc.Key.KeyValue)
	if err != nil {
		return nil, fmt.Errorf("ticket's session key: %w", err)
	}
	r := &request{client: principal{enc.CName.NameString, enc.CRealm}, sessionKey: sk, end: enc.EndTime}
	return r, r.openAuthenticator(&req)
}

// checkTicket checks a decrypted ticket's times, flags and client.
func (a *Acceptor) checkTicket(t *messages.Ticket, enc *messages.EncTicketPart) error {
	now := a.c.Now()
	start := enc.StartTime
	if start.IsZero() {
		start = enc.AuthTime
	}
	switch {
	case enc.Flags.At(flags.Invalid) == 1:
		return errors.New("ticket is marked invalid")
	case start.Sub(now) > a.c.MaxSkew:
		return fmt.Errorf("ticket is valid from %s on, it is %s", start.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case now.Sub(enc.EndTime) > a.c.MaxSkew:
		return fmt.Errorf("ticket expired at %s", enc.EndTime.Format(time.RFC3339))
	case len(enc.CName.NameString) == 0 || slices.Contains(enc.CName.NameString, "") || enc.CRealm == "":
		return errors.New("ticket names no client")
	case enc.CName.NameString[0] == "WELLKNOWN" || strings.HasPrefix(enc.CRealm, "WELLKNOWN:") || enc.Flags.At(anonymousFlag) == 1:
		return errors.New("client is anonymous")
	case enc.CRealm != t.Realm && !slices.Contains(a.c.Realms, enc.CRealm):
		return fmt.Errorf("client %s is of a realm that is not accepted here", unparse(enc.CName.NameString, enc.CRealm))
	case enc.CRealm != t.Realm && len(enc.Transited.Contents) > 0 && enc.Flags.At(transitPolicyChecked) == 0:
		return fmt.Errorf("client %s came through other realms, and the service's KDC did not check which", unparse(enc.CName.NameString, enc.CRealm))
	}
	return nil
}

// transitPolicyChecked is a ticket's flag (RFC 4120 section 2.7).
const transitPolicyChecked = 12

// anonymousFlag is a ticket's flag (RFC 8062 section 3).
const anonymousFlag = 16

// openAuthenticator decrypts the authenticator and checks that it belongs to
// the ticket.
func (r *request) openAuthenticator(req *messages.APReq) error {
	e := &req.EncryptedAuthenticator
	if e.EType != r.sessionKey.et.id {
		return errors.New("authenticator: encryption type is not the session key's")
	}
	plain, err := r.sessionKey.sealer(usageAPReqAuth).open(e.Cipher)
	if err != nil {
		return errors.New("authenticator was not made with the ticket's session key")
	}
	defer clear(plain)
	auth := &req.Authenticator
	if err := guard("authenticator", func() error { return auth.Unmarshal(plain) }); err != nil {
		return err
	}
	clear(auth.SubKey.KeyValue) // ours is used
	if auth.CRealm != r.client.realm || !equalNames(auth.CName.NameString, r.client.name) {
		return errors.New("authenticator and ticket name different clients")
	}
	if auth.Cusec < 0 || auth.Cusec > 999999 {
		return errors.New("authenticator: microseconds are out of range")
	}
	r.time = stamp{auth.CTime.Unix(), int64(auth.Cusec)}
	r.when = r.time.time()
	r.seq = uint32(auth.SeqNumber)
	r.raw = e.Cipher
	c := auth.Cksum.Checksum
	if auth.Cksum.CksumType != gssChecksum || len(c) < gssChecksumLen || binary.LittleEndian.Uint32(c) != 16 {
		return errors.New("authenticator has no GSS checksum")
	}
	r.flags = binary.LittleEndian.Uint32(c[20:])
	return nil
}

// The checksum field of a GSS authenticator, and its flags (RFC 4121 section
// 4.1.1; gssDCE: MS-KILE section 3.4.5.1).
const (
	gssChecksum    = 0x8003
	gssChecksumLen = 24

	gssMutual   = 0x2
	gssReplay   = 0x4
	gssSequence = 0x8
	gssConf     = 0x10
	gssInteg    = 0x20
	gssDCE      = 0x1000
)

// randomSeq is a sequence number to begin with. Those of 2^30 and more are not
// chosen, as there are peers that cannot count that far.
func randomSeq() uint32 {
	var b [4]byte
	rand.Read(b[:]) // never fails (Go 1.24)
	return binary.BigEndian.Uint32(b[:]) & 0x3fffffff
}
