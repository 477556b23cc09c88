// Package winetrial has one test: a Windows machine, as Wine makes one, whose
// Certificate Services is the embedded authority. It runs as the service CertSvc,
// the registry says of it what AD CS says of itself, and Certadm.dll is that of
// cmd/certadm. On that machine certkeep.exe goes the way of docs/windows.md: doctor,
// backup, verify, restore of the service.
//
// What it cannot show is how AD CS itself behaves; docs/windows-checklist.md is for
// that.
package winetrial
