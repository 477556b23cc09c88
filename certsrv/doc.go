// Package certsrv is a small Certificate Services: a certification authority
// that issues, revokes and publishes, keeps its records as AD CS does, and can
// be backed up while it runs and restored afterwards by the procedure of
// Certadm.dll. It is what certkeep is tried out on, and its server side.
//
//	err := certsrv.Init(ctx, dir, certsrv.InitOptions{Name: "Example CA"})
//	srv, err := certsrv.New(dir, certsrv.Options{})
//	err = srv.Start(ctx)
//	res, err := srv.Submit(ctx, principal, csr, nil) // res.Certificate is on disk
//	svc := srv.Service(principal)                    // a certadm.Service
//	err = srv.Stop(ctx)
//
// # What it promises
//
// What a call returned is on disk: a certificate that was acknowledged survives
// kill -9 and a power loss. Requests that arrive together share one commit, so
// that issuing is bound by signing. It goes on while a backup runs.
//
// Serial numbers are never used twice, request ids and CRL numbers only grow,
// also across a restore, after which they jump ahead: what was given after the
// backup is unknown to the database.
//
// A restore does not bring revoked certificates back to life unseen, see [Gap].
//
// The CA's private key is in no database, log, list or message.
//
// # The directory
//
//	config.json           settings, a dynamic file: no secrets
//	accounts.json         accounts (package account)
//	audit.log             audit events (package audit)
//	private/ca.key        the CA's key, PKCS#8
//	private/local.json    while it is served: how this machine's processes log
//	                      on to it, see [LocalAccount]
//	published/NAME.crt    the CA's certificate; .crl its newest CRL
//	database/NAME.db      the database, with SQLite's -wal and -shm
//	log/logNNNNN.log      closed log generations (package sqlitelog)
//	system/               state of the engine, locks, restore.json, gap.json,
//	                      backups.json
//	aside/logs/DATE/      truncated logs, deleted after Config.KeepTruncated
//	aside/displaced/DATE/ what restores displaced; never deleted by itself
//
// UNC names in lists are \\HOST\NAME$\… with the directory as the share, see
// [Server.LocalPath].
//
// # Starting and stopping
//
// One process serves a directory at a time ([ServedError]). Start carries out a
// pending restore before anything else. Stop lets calls finish; the process may
// as well be killed.
//
// # Backup and restore
//
// [Server.Service] gives a client's view, with the order rules and codes of the
// procedure: package certadm has them. A backup belongs to the client that
// prepared it, and there is one at a time; it ends with the client's connection.
// Truncated logs are moved aside and kept for a time, so that a stolen backup
// account cannot destroy the only copy. A restore is an instruction
// (RestoreRegister) that the next Start carries out.
package certsrv
