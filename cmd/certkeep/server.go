package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/certdll"
	"github.com/certkeep/certkeep/connect"
)

// serverOptions are what it takes to open a SERVER.
type serverOptions struct {
	secret secretOptions
	auth   string
	keytab string
}

func (o *serverOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.auth, "auth", string(connect.AuthAuto), "how to log on at adcs://: `HOW` is "+strings.Join(texts(connect.Auths), ", ")+
		"; auto: without a USER by Kerberos' ticket cache, USER@REALM by Kerberos, DOMAIN\\USER and USER by NTLM")
	f.StringVar(&o.keytab, "keytab", "", "adcs://: take USER@REALM's Kerberos key from `FILE`, in place of a password")
	o.secret.addFlags(f, "the password, or for ca:DIR the key's passphrase")
}

// addServerFlags gives a verb that takes a SERVER its flags.
func (o *serverOptions) addServerFlags(cmd *cobra.Command) {
	o.addFlags(cmd.Flags())
	choices(cmd, "auth", texts(connect.Auths)...)
	annotate(cmd, "environment", environmentOfServer+environmentHelp)
}

const environmentOfServer = `  CERTKEEP_USER           who logs on at adcs://, where the address has no USER
`

// address reads a SERVER. One that cannot be read is a usage error.
func (o *serverOptions) address(server string) (connect.Address, error) {
	a, err := connect.Parse(server)
	return a, withExit(exitUsage, err)
}

// options completes co for opening a.
func (o *serverOptions) options(c *console, a connect.Address, co connect.Options) connect.Options {
	co.Passphrase = o.secret.passphrase(c, a.Dir)
	co.Login = connect.Login{
		User: os.Getenv("CERTKEEP_USER"), Auth: connect.Auth(o.auth), Keytab: o.keytab,
		Password: func(ctx context.Context, user string) ([]byte, error) {
			return o.secret.read(ctx, c, "Password of "+oneLine(user)+" at "+a.Host, false)
		},
	}
	return co
}

// withServer opens a SERVER for the time of a call.
func withServer(ctx context.Context, c *console, server string, o serverOptions, co connect.Options, use func(*connect.Connection) error) (err error) {
	a, err := o.address(server)
	if err != nil {
		return err
	}
	conn, err := a.Open(ctx, o.options(c, a, co))
	if err != nil {
		return notOpened(err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return use(conn)
}

// notOpened adds to what went wrong what can be opened.
func notOpened(err error) error {
	if errors.Is(err, certdll.ErrNotWindows) {
		return withHint(err, "from other systems an authority is reached across the network: adcs://HOST")
	}
	return err
}
