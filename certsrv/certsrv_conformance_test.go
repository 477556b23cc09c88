package certsrv_test

import (
	"context"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
)

func TestConformance(t *testing.T) {
	skip := map[int]string{
		15: "a Service in the same process is not reached by a server's name",
		17: "there is no wire in one process, so its fields cannot be looked at",
		18: "there is no wire in one process on which a call could be missed",
		19: "there is no wire in one process that carries the type twice and the authority's name",
		25: "there is no wire in one process on which a call could be missed",
		26: "calls without a session cannot be made by the Go interface, where they are methods of one",
		27: "calls without a session cannot be made by the Go interface, where they are methods of one",
		36: "there is no wire in one process whose reads have a size",
		38: "there is no wire in one process whose reads have a size",
		41: "there is no connection in one process that could break without the client's doing",
		55: "the rights of a caller are given by the account, no token's privilege is enabled",
	}
	certadmtest.Run(t, func(t *testing.T) certadmtest.Env { return env{certsrvtest.New(t)} }, skip)
}

// env is an authority in this process.
type env struct{ *certsrvtest.Env }

func (e env) Connect(_ context.Context, c certadmtest.Caller) (certadm.Service, error) {
	return e.Server.Service(certsrvtest.Principal(c)), nil
}
