"""certadm_peer over Impacket's connections.

Impacket does not check the server's signatures, never negotiates header
signing, and makes a new security context on the same connection whenever it
turns to another interface.
"""

import json
import socket
import sys

from impacket.dcerpc.v5 import transport
from impacket.dcerpc.v5.dcomrt import DCOMConnection, IObjectExporter, IRemoteSCMActivator
from impacket.dcerpc.v5.rpcrt import RPC_C_AUTHN_GSS_NEGOTIATE, RPC_C_AUTHN_WINNT

import certadm_peer

# Whatever name the server has: it is here.
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest: resolve('127.0.0.1', *rest)


class Channel:
    def __init__(self, job):
        self.job = job
        self.open = []
        self.dce = self.secured()
        self.dce.connect()
        # Where DCOMConnection would register it, if it could be told a port.
        DCOMConnection.PORTMAPS[self.dce.get_rpc_transport().getRemoteHost()] = self.dce

    def transport(self):
        t = transport.DCERPCTransportFactory('ncacn_ip_tcp:%s[%d]' % (self.job['host'], self.job['port']))
        t.set_connect_timeout(60)
        return t

    def secured(self):
        job, t = self.job, self.transport()
        kerberos = job.get('kerberos', False)
        # With Kerberos the credentials are in the cache that KRB5CCNAME names.
        t.set_credentials(job['user'], '' if kerberos else job['password'], job['domain'])
        t.set_kerberos(kerberos, None)
        dce = t.get_dce_rpc()
        dce.set_auth_level(job.get('level', 6))
        dce.set_auth_type(RPC_C_AUTHN_GSS_NEGOTIATE if kerberos else RPC_C_AUTHN_WINNT)
        self.open.append(dce)
        return dce

    def anonymous(self):
        dce = self.transport().get_dce_rpc()
        self.open.append(dce)
        return Fresh(lambda: dce)

    def resolver(self):
        return Fresh(self.secured)

    def activate(self, clsid, iid):
        return IRemoteSCMActivator(self.dce).RemoteCreateInstance(clsid, iid)

    def send(self, remote, iid, ipid, request):
        remote.connect(iid)
        dce = remote.get_dce_rpc()
        if dce not in self.open:
            self.open.append(dce)
        dce.call(request.opnum, request, ipid)
        return dce.recv()

    def fault(self, function):
        """Runs function and returns its fault, or None."""
        try:
            function()
        except Exception as e:
            return '%s: %s' % (type(e).__name__, e)

    def close(self):
        for dce in self.open:
            dce.disconnect()


class Fresh:
    """IObjectExporter with a connection for each call: its methods connect and bind every time."""

    def __init__(self, make):
        self.make = make

    def __getattr__(self, name):
        return getattr(IObjectExporter(self.make()), name)


if __name__ == '__main__':
    certadm_peer.main(Channel, json.load(sys.stdin))
