// Package adcs is this Windows machine's Certificate Services beside their
// backup interface: what Certadm.dll does not say or do, and a backup or a
// restore needs. It reads where the database and the logs are, which
// certificate the authority has and where its key is; it collects the
// configuration that no database backup holds; it stops and starts the service;
// and it keeps a restored authority from publishing before somebody has looked.
//
// # Where it is found
//
// HKLM\SYSTEM\CurrentControlSet\Services\CertSvc\Configuration names the active
// authority (Active) and the directories (DBDirectory, DBLogDirectory,
// DBSystemDirectory); the subkey of the authority's sanitized name has its
// values, CACertHash, InterfaceFlags and CRLPublicationURLs among them. certutil
// -getreg shows the same values.
//
// # Order
//
// A restore calls [Host.Withhold], [Host.StopService], [Host.RecordGap] and
// [Host.SetAside] before it copies anything, and [Host.StartService] and
// [Host.Release] after it. Each can be repeated after an interruption: what was
// done is written to the state directory before it is done.
//
// # Trust
//
// What the registry says is believed: only administrators write it. A saved
// restore map is not: [Host.LocalPath] leads nowhere but into the authority's own
// directories and those that the operator named. Files of the state directory
// lead to privileged renames and registry values, so the directory belongs to
// SYSTEM and the administrators alone, and what its files say is checked all the
// same.
package adcs
