// Package peertest proves the wire protocol against programs that others
// wrote: Impacket and Samba's Python bindings as clients of our server, a
// Samba Active Directory domain controller and an MIT key distribution centre
// as servers of our client, and Wireshark's dissectors as judges of what both
// send.
//
// The package has tests only. Each skips, naming what is missing, when a
// program is not installed or a right (root, for namespaces) is not given:
//
//	apt-get install python3-impacket python3-samba tshark krb5-user krb5-kdc \
//	    krb5-admin-server samba-ad-dc samba-ad-provision samba-dsdb-modules \
//	    samba-vfs-modules
//
// With CERTKEEP_TEST_PEERS=1 in the environment, as in CI, what would be
// skipped fails.
package peertest
