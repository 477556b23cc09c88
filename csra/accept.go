package csra

import (
	"fmt"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/kerberos"
	"github.com/certkeep/certkeep/internal/ntlm"
	"github.com/certkeep/certkeep/internal/spnego"
)

// accept makes the server's side of an authentication.
func (s *Server) accept(t dcerpc.AuthType, c *dcerpc.Conn) (gss.Context, error) {
	ntlmToo := s.o.NTLM != nil && (!s.o.NTLM.SameMachineOnly || sameMachine(c.RemoteAddr(), c.LocalAddr()))
	switch {
	case t == dcerpc.AuthNTLM && ntlmToo:
		return s.acceptNTLM()
	case t == dcerpc.AuthKerberos && s.keytab != nil:
		return s.acceptKerberos()
	case t == dcerpc.AuthSPNEGO:
		var mechs []spnego.Mech
		if s.keytab != nil {
			mechs = append(mechs, spnego.Mech{OID: spnego.KRB5, New: s.acceptKerberos})
		}
		if ntlmToo {
			mechs = append(mechs, spnego.Mech{OID: spnego.NTLM, New: s.acceptNTLM})
		}
		return spnego.NewAcceptor(mechs...), nil
	}
	return nil, fmt.Errorf("%v is not accepted here", t)
}

func (s *Server) acceptNTLM() (gss.Context, error) { return ntlm.NewAcceptor(s.ntlmConfig()), nil }

func (s *Server) acceptKerberos() (gss.Context, error) {
	return kerberos.NewAcceptor(kerberos.AcceptorConfig{Keytab: s.keytab, Realms: s.o.Realms, Replay: s.replay}), nil
}
