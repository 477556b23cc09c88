"""certadm_peer over Samba's connections.

Samba's client checks every signature, signs headers, pads to 16 bytes, sends a
verification trailer and negotiates features in its bind. It can be used from
Python with interfaces that it knows only, so the server under test publishes
everything below the interface mgmt as well: opnum 1000*n+m is opnum m of the
n-th of INTERFACES. A second interface, added by alter_context under the same
security context (mgmt again, a presentation context of its own), carries every
other call.
"""

import json
import os
import sys
import tempfile

from impacket.dcerpc.v5.dcomrt import (
    IID_IObjectExporter, IID_IRemoteSCMActivator, IID_IRemUnknown, IObjectExporter, IRemoteSCMActivator)
from impacket.dcerpc.v5.rpcrt import RPC_C_AUTHN_WINNT
from impacket.uuid import bin_to_string

from samba import credentials, param
from samba.dcerpc import mgmt

import certadm_peer

INTERFACES = [None, IID_IObjectExporter, IID_IRemoteSCMActivator, IID_IRemUnknown,
              certadm_peer.IID_ICertAdminD, certadm_peer.IID_ICertAdminD2]


def login(job):
    """LoadParm and Credentials of a job."""
    lp = param.LoadParm()
    with tempfile.TemporaryDirectory() as d:
        name = os.path.join(d, 'smb.conf')
        with open(name, 'w') as f:
            f.write('[global]\nworkgroup = %s\nrealm = %s\nnetbios name = PEER\n'
                    'client use spnego = yes\nlog level = %d\n'
                    % (job['domain'].split('.')[0], job.get('realm', ''), job.get('log', 0)))
        lp.load(name)
    creds = credentials.Credentials()
    creds.set_username(job['user'])
    creds.set_workstation('PEER')
    creds.set_domain(job['domain'])
    if job.get('kerberos'):
        creds.set_kerberos_state(credentials.MUST_USE_KERBEROS)
        creds.set_realm(job['realm'])
        creds.set_named_ccache(job['ccache'], credentials.SPECIFIED, lp)
    else:
        creds.set_kerberos_state(credentials.DONT_USE_KERBEROS)
        creds.set_password(job['password'])
    return lp, creds


class Channel:
    def __init__(self, job):
        self.job = job
        self.lp, self.creds = login(job)
        self.binding = 'ncacn_ip_tcp:%s[%d,%s]' % (job['host'], job['port'], job['options'])
        self.connections = [mgmt.mgmt(self.binding, self.lp, self.creds)]
        # alter_context, without a new authentication. Unless SPNEGO had the last word in the old one, Samba
        # sends that one's last token again, which no server takes (its own says "access denied" as well).
        if 'spnego' in job['options']:
            self.connections.append(mgmt.mgmt(self.binding, self.lp, self.creds, basis_connection=self.connections[0]))
        self.calls = 0

    def raw(self, iid, opnum, stub, ipid=None):
        self.calls += 1
        c = self.connections[self.calls % len(self.connections)]
        opnum += 1000 * INTERFACES.index(iid)
        # A GUID object instead of a string crashes Samba's binding.
        return c.request(opnum, stub, bin_to_string(ipid)) if ipid else c.request(opnum, stub)

    def resolver(self):
        return IObjectExporter(Portmap(self))

    def activate(self, clsid, iid):
        return IRemoteSCMActivator(Portmap(self)).RemoteCreateInstance(clsid, iid)

    def send(self, remote, iid, ipid, request):
        return self.raw(iid, request.opnum, request.getData(), ipid)

    def fault(self, function):
        try:
            function()
        except Exception as e:
            return '%s: %s' % (type(e).__name__, e)

    def close(self):
        self.connections = None


class Portmap:
    """As much of Impacket's connection as its activation and its resolver need."""

    def __init__(self, channel):
        self.channel, self.iid = channel, None

    def connect(self):
        pass

    def bind(self, iid):
        self.iid = iid

    def request(self, request):
        module = __import__(request.__module__, fromlist=['*'])
        answer = self.channel.raw(self.iid, request.opnum, request.getData())
        return getattr(module, type(request).__name__ + 'Response')(answer)

    def get_rpc_transport(self):
        return self

    def getRemoteHost(self):
        return self.channel.job['host']

    def get_auth_type(self):
        return RPC_C_AUTHN_WINNT


def main():
    """A backup, or the single calls of the job."""
    job = json.load(sys.stdin)
    if 'calls' not in job:
        return certadm_peer.main(Channel, job)
    answers = []
    try:
        channel = Channel(job)
        for c in job['calls']:
            try:
                answers.append(channel.raw(INTERFACES[c['interface']], c['opnum'], bytes.fromhex(c['stub'])).hex())
            except Exception as e:
                answers.append('%s: %s' % (type(e).__name__, e))
        report = {'answers': answers}
    except Exception as e:
        report = {'error': '%s: %s' % (type(e).__name__, e)}
    json.dump(report, sys.stdout)


if __name__ == '__main__':
    main()
