// Package csrahook is how tests of this module set what no user of a
// csra.Server may: exceptions for peers that cannot do better.
package csrahook

import "github.com/certkeep/certkeep/internal/dcerpc"

// Configure has change called with the configuration of the RPC server that
// csra.NewServer makes of options, a *csra.ServerOptions. Package csra sets it.
var Configure func(options any, change func(*dcerpc.ServerConfig))
