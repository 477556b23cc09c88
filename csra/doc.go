// Package csra speaks MS-CSRA, the Certificate Services Remote Administration
// Protocol, as far as backups need it: ICertAdminD and ICertAdminD2 through DCOM,
// over DCE/RPC on TCP, always sealed.
//
// [Dial] returns a client, a [certadm.Service], of Certificate Services on
// another machine. It needs nothing installed there, but the authority must
// permit remote backups ([certadm.IfNoRemoteAdminBackup]; a stock AD CS does not),
// and the account must have the right to read the authority and
// SeBackupPrivilege on its machine.
//
// [Server] is the other side: it publishes any [certadm.Service], and whoever
// speaks the protocol can back it up.
//
// Section numbers in this package's comments are those of MS-CSRA unless another
// document is named.
package csra
