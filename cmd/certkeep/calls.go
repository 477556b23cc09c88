package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/connect"
)

// The single calls of the procedure, one verb each, as certutil has them: -ping,
// -databaselocations, -dynamicfilelist and -shutdown.

// serverExits are the exit codes of the verbs that open a SERVER.
var serverExits = []int{exitOK, exitFailed, exitUsage, exitLocked, exitSecret, exitUnreachable, exitInterrupted}

// newCall makes a verb that takes a SERVER and nothing else.
func newCall(c *console, verb, short, long string, run func(ctx context.Context, c *console, server string, o serverOptions) error) *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use: verb + " SERVER", Short: short, Long: long, Args: c.exactly("SERVER"),
		RunE: c.do(func(ctx context.Context, args []string) error { return run(ctx, c, args[0], o) }),
	}
	o.addServerFlags(cmd)
	return describe(cmd, "certkeep "+verb+" ca:pki\ncertkeep "+verb+" adcs://backup@CORP.EXAMPLE@ca01", serverExits...)
}

func newPingCommand(c *console) *cobra.Command {
	return newCall(c, "ping", "ask whether an authority is online",
		"ping calls CertSrvIsServerOnline. An authority in a directory that nobody serves is\nstarted for the time of the call.", runPing)
}

type pingResult struct {
	Server    string  `json:"server"`
	Authority string  `json:"authority"`
	Host      string  `json:"host"`
	Engine    string  `json:"engine"`
	Online    bool    `json:"online"`
	Seconds   float64 `json:"seconds"`
}

func runPing(ctx context.Context, c *console, server string, o serverOptions) error {
	return withServer(ctx, c, server, o, connect.Options{}, func(conn *connect.Connection) error {
		begun := time.Now()
		online, err := conn.Service().IsServerOnline(ctx)
		if err != nil {
			return err
		}
		id, err := conn.Identity(ctx)
		if err != nil {
			return err
		}
		took1 := time.Since(begun)
		r := pingResult{Server: conn.Address.String(), Authority: id.Name, Host: id.Host, Engine: id.Engine, Online: online, Seconds: took1.Seconds()}
		if err := c.result(r, func(w io.Writer) error {
			state := "online"
			if !online {
				state = "suspended"
			}
			_, err := fmt.Fprintf(w, "%s on %s is %s (%s)\n", oneLine(id.Name), oneLine(id.Host), state, took(took1))
			return err
		}); err != nil {
			return err
		}
		if !online {
			return withExit(exitUnreachable, errors.New("the service is suspended"))
		}
		return nil
	})
}

func newLocationsCommand(c *console) *cobra.Command {
	return newCall(c, "locations", "where an authority keeps its database and logs",
		"locations calls CertSrvRestoreGetDatabaseLocations: the restore map, in the server's own names.", runLocations)
}

type locationsResult struct {
	Locations []location `json:"locations"`
}

type location struct {
	Tag  string `json:"tag"`  // "0x44"
	Kind string `json:"kind"` // "database", "logs", "checkpoint", "other"
	Path string `json:"path"`
}

func runLocations(ctx context.Context, c *console, server string, o serverOptions) error {
	return withServer(ctx, c, server, o, connect.Options{}, func(conn *connect.Connection) error {
		list, err := certadm.Locations(ctx, conn.Service())
		if err != nil {
			return err
		}
		r := locationsResult{Locations: []location{}}
		for _, e := range list {
			l := location{Tag: fmt.Sprintf("0x%02x", uint16(e.Type)), Kind: "other", Path: e.Path}
			switch e.Type {
			case certadm.FileDatabase:
				l.Kind = "database"
			case certadm.FileLogDir:
				l.Kind = "logs"
			case certadm.FileCheckpointDir:
				l.Kind = "checkpoint"
			}
			r.Locations = append(r.Locations, l)
		}
		return c.result(r, func(w io.Writer) error {
			var pairs []string
			for _, l := range r.Locations {
				pairs = append(pairs, l.Kind, l.Path)
			}
			return fields(w, pairs...)
		})
	})
}

func newDynamicFilesCommand(c *console) *cobra.Command {
	return newCall(c, "dynamic-files", "which files an authority needs besides its database",
		"dynamic-files calls CertSrvBackupGetDynamicFileList: CRLs, the authority's certificate and its\nconfiguration. backup copies them as well.", runDynamicFiles)
}

type dynamicFilesResult struct {
	Files []string `json:"files"`
}

func runDynamicFiles(ctx context.Context, c *console, server string, o serverOptions) error {
	return withServer(ctx, c, server, o, connect.Options{}, func(conn *connect.Connection) error {
		names, err := certadm.Dynamic(ctx, conn.Service())
		if err != nil {
			return err
		}
		r := dynamicFilesResult{Files: append([]string{}, names...)}
		return c.result(r, func(w io.Writer) error {
			for _, n := range r.Files {
				if _, err := fmt.Fprintln(w, oneLine(n)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

type shutdownOptions struct {
	serverOptions
	dryRun bool
}

func newShutdownCommand(c *console) *cobra.Command {
	var o shutdownOptions
	cmd := &cobra.Command{
		Use: "shutdown SERVER", Short: "stop an authority's service",
		Long: `shutdown calls CertSrvServerControl(CSCONTROL_SHUTDOWN). An authority in a
directory that nobody serves is started and shut down, which closes its open log.`,
		Args: c.exactly("SERVER"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runShutdown(ctx, c, args[0], o) }),
	}
	o.addServerFlags(cmd)
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "ask whether the service is online, and leave it running")
	return describe(cmd, "certkeep shutdown ca:pki", serverExits...)
}

type shutdownResult struct {
	Server   string `json:"server"`
	Shutdown bool   `json:"shutdown"`
	DryRun   bool   `json:"dry_run,omitempty"`
}

func runShutdown(ctx context.Context, c *console, server string, o shutdownOptions) error {
	r := shutdownResult{Server: server, Shutdown: !o.dryRun, DryRun: o.dryRun}
	err := withServer(ctx, c, server, o.serverOptions, connect.Options{}, func(conn *connect.Connection) error {
		if o.dryRun {
			_, err := conn.Service().IsServerOnline(ctx)
			return err
		}
		_, err := conn.Service().ServerControl(ctx, certadm.ControlShutdown)
		return err
	})
	if err != nil {
		return err
	}
	return c.result(r, func(w io.Writer) error {
		word := "has been shut down"
		if o.dryRun {
			word = "would be shut down"
		}
		_, err := fmt.Fprintf(w, "%s %s\n", oneLine(server), word)
		return err
	})
}
