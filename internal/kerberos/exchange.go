package kerberos

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/iana/flags"
	"github.com/jcmturner/gokrb5/v8/iana/msgtype"
	"github.com/jcmturner/gokrb5/v8/iana/patype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
)

// ticketLifetime is what is asked for; a KDC gives less as it pleases.
const ticketLifetime = 24 * time.Hour

// requestBody is what both kinds of request have.
func (c *Client) requestBody(realm string, server []string) messages.KDCReqBody {
	var nonce [4]byte
	rand.Read(nonce[:]) // never fails (Go 1.24)
	options := types.NewKrbFlags()
	types.SetFlag(&options, flags.Canonicalize)
	return messages.KDCReqBody{
		KDCOptions: options,
		Realm:      realm,
		SName:      principalName(server),
		Till:       c.now().UTC().Add(ticketLifetime).Truncate(time.Second),
		Nonce:      int(binary.BigEndian.Uint32(nonce[:]) & 0x7fffffff),
		EType:      c.conf.etypes,
	}
}

// login gets a ticket-granting ticket with keytab or password (RFC 4120
// section 3.1).
func (c *Client) login(ctx context.Context) (*credential, error) {
	op := "log on as " + c.self.String()
	req := messages.ASReq{KDCReqFields: messages.KDCReqFields{PVNO: 5, MsgType: msgtype.KRB_AS_REQ}}
	req.ReqBody = c.requestBody(c.self.realm, []string{"krbtgt", c.self.realm})
	// The reply must be for the very name that was asked with.
	types.UnsetFlag(&req.ReqBody.KDCOptions, flags.Canonicalize)
	req.ReqBody.CName = principalName(c.self.name)
	req.ReqBody.CName.NameType = 1

	reply, err := c.asExchange(ctx, op, &req)
	if err != nil {
		return nil, err
	}
	if k := krbError(reply); k != nil && k.ErrorCode == codePreauthRequired {
		if err := c.preauthenticate(op, &req, k); err != nil {
			return nil, err
		}
		if reply, err = c.asExchange(ctx, op, &req); err != nil {
			return nil, err
		}
	}
	if k := krbError(reply); k != nil {
		return nil, fromKRBError(op, k, c.now())
	}
	return c.readASRep(op, &req, reply)
}

func (c *Client) asExchange(ctx context.Context, op string, req *messages.ASReq) ([]byte, error) {
	b, err := req.Marshal()
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	return c.exchange(ctx, op, c.self.realm, b)
}

// preauthenticate adds an encrypted timestamp (RFC 4120 section 5.2.7.2), for
// the first encryption type that the KDC lists and we can do.
func (c *Client) preauthenticate(op string, req *messages.ASReq, k *messages.KRBError) error {
	var pas types.PADataSequence
	if err := guard("KDC's list of pre-authentication methods", func() error { return pas.Unmarshal(k.EData) }); err != nil {
		return &Error{Op: op, Err: err}
	}
	secret, err := c.secret(op, pas, 0)
	if err != nil {
		return err
	}
	now := stampOf(c.now())
	plain, err := asn1.Marshal(types.PAEncTSEnc{PATimestamp: time.Unix(now.sec, 0).UTC(), PAUSec: int(now.usec)})
	if err != nil {
		return &Error{Op: op, Err: err}
	}
	data := types.EncryptedData{EType: secret.et.id, Cipher: secret.sealer(usagePAEncTimestamp).seal(plain)}
	value, err := data.Marshal()
	if err != nil {
		return &Error{Op: op, Err: err}
	}
	req.PAData = types.PADataSequence{{PADataType: patype.PA_ENC_TIMESTAMP, PADataValue: value}}
	for _, pa := range pas {
		if pa.PADataType == patype.PA_FX_COOKIE {
			req.PAData = append(req.PAData, pa) // given back as it came (RFC 6113 section 5.2)
		}
	}
	return nil
}

// secret returns the client's long-term key. pas says what encryption types and
// salts the KDC has; id is the type wanted, or 0 for the first that is possible.
func (c *Client) secret(op string, pas types.PADataSequence, id int32) (*key, error) {
	var infos types.ETypeInfo2
	for _, pa := range pas {
		if pa.PADataType != patype.PA_ETYPE_INFO2 {
			continue
		}
		if err := guard("KDC's list of encryption types", func() error { return infos.Unmarshal(pa.PADataValue) }); err != nil {
			return nil, &Error{Op: op, Err: err}
		}
	}
	if len(infos) == 0 {
		// None sent: any type that may be used, with the default salt.
		for _, e := range c.conf.etypes {
			infos = append(infos, types.ETypeInfo2Entry{EType: e})
		}
	}
	for _, info := range infos {
		et := etypes[info.EType]
		if et == nil || (id != 0 && id != et.id) {
			continue
		}
		if c.keytab != nil {
			if k := c.keytab.find(c.self.name, c.self.realm, et.id); k != nil {
				return k, nil
			}
			continue
		}
		salt := info.Salt
		if salt == "" {
			salt = c.self.realm + strings.Join(c.self.name, "")
		}
		k, err := et.stringToKey(c.password, salt, info.S2KParams)
		if err != nil {
			return nil, &Error{Op: op, Err: err}
		}
		return k, nil
	}
	if c.keytab != nil {
		return nil, refuse(op, "export the keytab again with AES keys", "the keytab has no key of a type that the KDC accepts")
	}
	return nil, refuse(op, codeHints[codeEtypeNoSupport], "the KDC offers none: %w", errEtype)
}

func (c *Client) readASRep(op string, req *messages.ASReq, reply []byte) (*credential, error) {
	var rep messages.ASRep
	if err := guard("KDC's answer", func() error { return rep.Unmarshal(reply) }); err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	secret, err := c.secret(op, rep.PAData, rep.EncPart.EType)
	if err != nil {
		return nil, err
	}
	plain, err := secret.sealer(usageASRep).open(rep.EncPart.Cipher)
	if err != nil {
		return nil, refuse(op, codeHints[codePreauthFailed], "the KDC's answer does not decrypt")
	}
	t, err := c.readKDCRep(op, &rep.KDCRepFields, &req.ReqBody, plain)
	if err != nil {
		return nil, err
	}
	if !equalNames(t.server.name, req.ReqBody.SName.NameString) {
		return nil, &Error{Op: op, Err: errors.New("the KDC's answer is for another service")}
	}
	return t, nil
}

// readKDCRep checks what both kinds of reply have, and returns the ticket in
// it. plain is the reply's encrypted part.
func (c *Client) readKDCRep(op string, rep *messages.KDCRepFields, body *messages.KDCReqBody, plain []byte) (*credential, error) {
	defer clear(plain)
	var part messages.EncKDCRepPart
	if err := guard("KDC's answer", func() error { return part.Unmarshal(plain) }); err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	defer clear(part.Key.KeyValue)
	switch {
	case part.Nonce != body.Nonce:
		return nil, &Error{Op: op, Err: errors.New("the KDC's answer is to another request")}
	case rep.CRealm != c.self.realm || !equalNames(rep.CName.NameString, c.self.name):
		return nil, &Error{Op: op, Err: errors.New("the KDC's answer is for another client")}
	case len(part.SName.NameString) == 0 || part.SRealm != rep.Ticket.Realm || !equalNames(part.SName.NameString, rep.Ticket.SName.NameString):
		return nil, &Error{Op: op, Err: errors.New("the KDC's answer has a ticket for another service")}
	}
	k, err := newKey(part.Key.KeyType, part.Key.KeyValue)
	if err != nil {
		return nil, &Error{Op: op, Err: fmt.Errorf("session key: %w", err), hint: codeHints[codeEtypeNoSupport]}
	}
	raw, err := rep.Ticket.Marshal()
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	t := &credential{client: c.self, server: principal{part.SName.NameString, part.SRealm}, key: k, etype: k.et.id,
		start: part.StartTime, end: part.EndTime, raw: raw}
	if t.start.IsZero() {
		t.start = part.AuthTime
	}
	if now := c.now(); !t.end.After(now) || t.start.Sub(now) > DefaultMaxSkew {
		e := refuse(op, "", "the ticket is valid from %s to %s, which is not now", t.start.UTC().Format(time.RFC3339), t.end.UTC().Format(time.RFC3339))
		e.Skew = t.start.Sub(now).Round(time.Second)
		e.hint = skewHint(e.Skew)
		return nil, e
	}
	return t, nil
}

// tgsExchange asks the KDC of a ticket-granting ticket's realm for a ticket
// (RFC 4120 section 3.3). What it returns is for that service, or a
// ticket-granting ticket for another realm that is nearer to it.
func (c *Client) tgsExchange(ctx context.Context, tgt *credential, name []string) (*credential, error) {
	op := "ticket for " + join(name)
	realm := tgt.server.name[len(tgt.server.name)-1]
	req := messages.TGSReq{KDCReqFields: messages.KDCReqFields{PVNO: 5, MsgType: msgtype.KRB_TGS_REQ}}
	req.ReqBody = c.requestBody(realm, name)
	body, err := req.ReqBody.Marshal()
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	sum := types.Checksum{CksumType: tgt.key.et.checksumType(), Checksum: tgt.key.checksum(usageTGSReqChecksum, body)}
	auth, err := authenticator(c.self, stampOf(c.now()), sum, 0, nil)
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	ap, err := apReq(tgt.raw, false, tgt.key.et, tgt.key.sealer(usageTGSReqAuth).seal(auth))
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	req.PAData = types.PADataSequence{{PADataType: patype.PA_TGS_REQ, PADataValue: ap}}
	b, err := req.Marshal()
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	reply, err := c.exchange(ctx, op, realm, b)
	if err != nil {
		return nil, err
	}
	if k := krbError(reply); k != nil {
		return nil, fromKRBError(op, k, c.now())
	}
	var rep messages.TGSRep
	if err := guard("KDC's answer", func() error { return rep.Unmarshal(reply) }); err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	plain, err := tgt.key.sealer(usageTGSRepSessionKey).open(rep.EncPart.Cipher)
	if err != nil {
		return nil, refuse(op, "", "the KDC's answer does not decrypt")
	}
	t, err := c.readKDCRep(op, &rep.KDCRepFields, &req.ReqBody, plain)
	if err != nil {
		return nil, err
	}
	referral := len(t.server.name) == 2 && t.server.name[0] == "krbtgt"
	if !referral && !strings.EqualFold(join(t.server.name), join(name)) {
		return nil, &Error{Op: op, Err: fmt.Errorf("the KDC gave a ticket for %s", t.server)}
	}
	return t, nil
}
