"""A backup through ICertAdminD, for two clients written by others.

Impacket knows the encoding of DCOM, but not ICertAdminD, whose calls are
declared below after [MS-CSRA]. What carries them is a channel: Impacket's own
connections (impacket_peer.py) or Samba's (samba_peer.py). Return values of
calls are reported as they came; judging them is the caller's work.
"""

import hashlib
import json
import struct
import sys

from impacket.dcerpc.v5.dcomrt import DCOMANSWER, DCOMCALL, IID_IRemUnknown, REMINTERFACEREF_ARRAY, REMINTERFACEREF, REMQIRESULT
from impacket.dcerpc.v5.dtypes import DWORD, GUID, LONG, LPWSTR, NULL, ULONG, ULONGLONG, USHORT
from impacket.dcerpc.v5.ndr import NDRPOINTER, NDRUniConformantArray
from impacket.uuid import generate, string_to_bin, uuidtup_to_bin

CLSID_CCertAdminD = string_to_bin('d99e6e73-fc88-11d0-b498-00a0c90312f3')
IID_ICertAdminD = uuidtup_to_bin(('d99e6e71-fc88-11d0-b498-00a0c90312f3', '0.0'))
IID_ICertAdminD2 = uuidtup_to_bin(('7fe0d935-dda6-443f-85d0-1cfb58fe41dd', '0.0'))


class BYTES(NDRUniConformantArray):
    item = 'c'


class WCHARS(NDRUniConformantArray):
    item = '<H'


class PWCHARS(NDRPOINTER):
    referent = (('Data', WCHARS),)


class PBYTES(NDRPOINTER):
    referent = (('Data', BYTES),)


class IIDS(NDRUniConformantArray):
    item = GUID


class QIRESULTS(NDRUniConformantArray):
    item = REMQIRESULT


class HRESULTS(NDRUniConformantArray):
    item = DWORD


class PQIRESULTS(NDRPOINTER):
    referent = (('Data', QIRESULTS),)


def call(opnum, arguments, results):
    """Makes the two classes of one call."""
    return (type('Request', (DCOMCALL,), {'opnum': opnum, 'structure': tuple(arguments)}),
            type('Answer', (DCOMANSWER,), {'structure': tuple(results) + (('ErrorCode', DWORD),)}))


LIST = [('pwsz', PWCHARS), ('pcwc', LONG)]
BLOB = [('cb', ULONG), ('pb', PBYTES)]
CALLS = {
    'PublishCRL': call(8, [('authority', LPWSTR), ('FileTime', ULONGLONG)], []),
    'GetCRL': call(9, [('authority', LPWSTR)], BLOB),
    'ServerControl': call(17, [('authority', LPWSTR), ('flags', ULONG)], BLOB),
    'Ping': call(18, [('authority', LPWSTR)], []),
    'GetServerState': call(19, [('authority', LPWSTR)], [('state', ULONG)]),
    'BackupPrepare': call(20, [('authority', LPWSTR), ('grbitJet', ULONG), ('dwBackupFlags', ULONG),
                               ('annotation', LPWSTR), ('dwClientIdentifier', ULONG)], []),
    'BackupEnd': call(21, [], []),
    'BackupGetAttachmentInformation': call(22, [], LIST),
    'BackupGetBackupLogs': call(23, [], LIST),
    'BackupOpenFile': call(24, [('path', LPWSTR)], [('length', ULONGLONG)]),
    'BackupReadFile': call(25, [('cbBuffer', LONG)], [('buffer', BYTES), ('cbRead', LONG)]),
    'BackupCloseFile': call(26, [], []),
    'BackupTruncateLogs': call(27, [], []),
    'BackupGetDynamicFiles': call(29, [], LIST),
    'RestoreGetDatabaseLocations': call(30, [], LIST),
    'GetCAProperty': call(32, [('authority', LPWSTR), ('id', LONG), ('index', LONG), ('type', LONG)],
                          BLOB),
    'Ping2': call(38, [('authority', LPWSTR)], []),
    'GetMyRoles': call(47, [('authority', LPWSTR)], [('roles', LONG)]),
}
# IRemUnknown: Impacket's own declaration of the answer to a query lacks the array's count.
QUERY = call(3, [('ripid', GUID), ('cRefs', ULONG), ('cIids', USHORT), ('iids', IIDS)], [('results', PQIRESULTS)])
ADDREF = call(4, [('cInterfaceRefs', USHORT), ('InterfaceRefs', REMINTERFACEREF_ARRAY)], [('results', HRESULTS)])
RELEASE = call(5, [('cInterfaceRefs', USHORT), ('InterfaceRefs', REMINTERFACEREF_ARRAY)], [])


class Object:
    """One interface of an activated object."""

    def __init__(self, channel, remote, iid, ipid):
        self.channel, self.remote, self.iid, self.ipid = channel, remote, iid, ipid

    def stub(self, classes, fields, iid=None, ipid=None):
        """Sends one call and returns the answer's stub, whatever it says."""
        request = classes[0]()
        request['ORPCthis']['cid'] = generate()
        request['ORPCthis']['flags'] = 0
        request['ORPCthis']['extensions'] = NULL
        for name, value in fields.items():
            if name == 'iids':
                for each in value:
                    item = GUID()
                    item['Data'] = each
                    request['iids'].append(item)
            elif name == 'refs':
                request['cInterfaceRefs'] = len(value)
                for ipid_of, count in value:
                    item = REMINTERFACEREF()
                    item['ipid'], item['cPublicRefs'], item['cPrivateRefs'] = ipid_of, count, 0
                    request['InterfaceRefs'].append(item)
            else:
                request[name] = value
        return self.channel.send(self.remote, iid or self.iid, ipid or self.ipid, request)

    def call(self, name, **fields):
        """Calls and decodes; returns (return value, answer)."""
        data = self.stub(CALLS[name], fields)
        answer = CALLS[name][1](data)
        return answer['ErrorCode'], answer

    def read(self, size):
        """BackupReadFile decoded by hand: the generic decoder takes seconds for 4 MiB."""
        data = self.stub(CALLS['BackupReadFile'], {'cbBuffer': size})
        count, = struct.unpack_from('<I', data, 8)
        end = 12 + count + -count % 4
        if count != size or len(data) != end + 8:
            raise ValueError('a read of %d bytes answered max_count %d in %d bytes of stub' % (size, count, len(data)))
        got, code = struct.unpack_from('<iI', data, end)
        if got < 0 or got > size or any(data[12 + got:12 + count]):
            raise ValueError('a read of %d bytes answered cbRead %d and non-zero bytes behind' % (size, got))
        return code, data[12:12 + got]

    def names(self, name):
        """Calls a list method; returns (return value, [[code, name]…])."""
        code, answer = self.call(name)
        units = answer['pwsz'] if answer['pwsz'] != b'' and answer['pcwc'] else []
        if len(units) != answer['pcwc']:
            raise ValueError('%s: %d WCHARs, count %d' % (name, len(units), answer['pcwc']))
        text = struct.pack('<%dH' % len(units), *units).decode('utf-16-le')
        if text and not text.endswith('\0\0'):
            raise ValueError('%s: not closed by two NULs' % name)
        found = []
        for each in text.split('\0')[:-2]:
            found.append(['', each] if each.startswith('\\\\') else [each[0], each[1:]])
        return code, found

    def unknown(self, classes, **fields):
        """Calls IRemUnknown of the object's exporter; the answer must be a success."""
        answer = classes[1](self.stub(classes, fields, IID_IRemUnknown, self.remote.get_ipidRemUnknown()))
        if answer['ErrorCode'] >= 0x80000000:
            raise ValueError('IRemUnknown opnum %d: 0x%08x' % (classes[0].opnum, answer['ErrorCode']))
        return answer

    def query(self, iids):
        """RemQueryInterface for this object; returns (return value, [(HRESULT, IPID)...])."""
        answer = self.unknown(QUERY, ripid=self.ipid, cRefs=1, cIids=len(iids), iids=[i[:16] for i in iids])
        return answer['ErrorCode'], [(r['hResult'] & 0xffffffff, r['std']['ipid']) for r in answer['results']]


def digest(answer):
    """The SHA-256 of a CERTTRANSBLOB."""
    if answer['cb'] == 0:
        return ''
    if answer['cb'] != len(answer['pb']):
        raise ValueError('a blob of %d bytes has cb %d' % (len(answer['pb']), answer['cb']))
    return hashlib.sha256(b''.join(answer['pb'])).hexdigest()


def files(report, server, names, sizes):
    """Reads every file once with each buffer size."""
    for code, name in names:
        for size in sizes:
            status, answer = server.call('BackupOpenFile', path=name + '\0')
            entry = {'name': name, 'type': code, 'buffer': size, 'open': status}
            report['files'].append(entry)
            if status != 0:
                continue
            entry['length'] = answer['length']
            digest, total, reads = hashlib.sha256(), 0, 0
            while True:
                status, data = server.read(size)
                reads += 1
                if status != 0:
                    entry['read'] = status
                    break
                digest.update(data)
                total += len(data)
                if len(data) < size:
                    break
            status, data = server.read(65536)  # at the end a read succeeds and yields nothing
            entry['end'] = [status, len(data)]
            entry.update(total=total, reads=reads, sha256=digest.hexdigest())
            entry['close'] = server.call('BackupCloseFile')[0]


def misuse(report, server, prepare, dynamic, listed):
    """Calls out of order, in a prepared session. None may do harm, and each is reported."""
    codes = report['misuse']
    codes['prepare twice'] = server.call('BackupPrepare', **prepare)[0]
    codes['read without a file'] = server.read(65536)[0]
    codes['close without a file'] = server.call('BackupCloseFile')[0]
    codes['truncate unread'] = server.call('BackupTruncateLogs')[0]
    unlisted = ['C:\\Windows\\win.ini', '/etc/passwd', '\\\\host\\c$\\..\\etc\\passwd', '..\\..\\etc\\passwd', '']
    unlisted += [name for _, name in dynamic[:1]]
    codes['open unlisted'] = [server.call('BackupOpenFile', path=n + '\0')[0] for n in unlisted]
    codes['open null'] = server.call('BackupOpenFile', path=NULL)[0]
    if listed:
        codes['open'] = server.call('BackupOpenFile', path=listed[0][1] + '\0')[0]
        codes['open twice'] = server.call('BackupOpenFile', path=listed[0][1] + '\0')[0]
        # A size that is no multiple of a page is served ([MS-CSRA]'s own example uses one).
        codes['read odd'] = [server.read(1)[0], server.read(4097)[0]]
        codes['read zero'] = struct.unpack('<I', server.stub(CALLS['BackupReadFile'], {'cbBuffer': 0})[-4:])[0]
        codes['close'] = server.call('BackupCloseFile')[0]


def backup(job, channel):
    """One session from activation to release, as a report."""
    report = {'files': [], 'misuse': {}, 'lists': {}}
    if job.get('alive', True):
        report['alive'] = addresses(channel.anonymous().ServerAlive2())
    authority = job['authority'] + '\0'

    remote = channel.activate(CLSID_CCertAdminD, IID_ICertAdminD)
    server = Object(channel, remote, IID_ICertAdminD, remote.get_iPid())

    # Liveness, in each of the three ways that a client of Certadm.dll might take.
    report['Ping'] = server.call('Ping', authority=authority)[0]
    report['Ping null'] = server.call('Ping', authority=NULL)[0]
    code, answer = server.call('GetServerState', authority=authority)
    report['GetServerState'] = [code, answer['state']]

    # The second interface, by RemQueryInterface; one that does not exist is refused without harm.
    code, got = server.query([IID_ICertAdminD2, uuidtup_to_bin(('12345678-1234-1234-1234-123456789abc', '0.0'))])
    report['query'] = [code] + [hr for hr, _ in got]
    second = Object(channel, remote, IID_ICertAdminD2, got[0][1])
    report['Ping2'] = second.call('Ping2', authority=authority)[0]
    code, answer = second.call('GetMyRoles', authority=authority)
    report['GetMyRoles'] = [code, answer['roles']]
    code, answer = second.call('GetCAProperty', authority=authority, id=12, index=0, type=3)
    report['certificate'] = [code, digest(answer)]
    code, answer = server.call('GetCRL', authority=authority)
    report['GetCRL'] = [code, digest(answer)]
    # A control that has no effect, one that does not exist, and a method that is not implemented.
    report['ServerControl'] = [server.call('ServerControl', authority=authority, flags=n)[0] for n in (3, 77)]
    report['PublishCRL'] = server.call('PublishCRL', authority=authority, FileTime=0)[0]

    # A wrong name of the authority is an invalid parameter.
    prepare = {'authority': authority, 'grbitJet': job['jet'], 'dwBackupFlags': job['flags'],
               'annotation': 'by a peer\0' if job.get('annotation') else NULL, 'dwClientIdentifier': 0}
    report['wrong authority'] = server.call('BackupPrepare', **dict(prepare, authority='Somebody Else\0'))[0]
    report['lists before prepare'] = [server.names(n)[0] for n in
                                      ('BackupGetAttachmentInformation', 'BackupGetBackupLogs')]

    report['BackupPrepare'] = server.call('BackupPrepare', **prepare)[0]
    if report['BackupPrepare'] == 0:
        session(job, report, server, prepare)
    report['ComplexPing'], report['SimplePing'], report['ResolveOxid2'] = ping(channel.resolver(), remote)
    if report['BackupPrepare'] == 0:
        if job.get('truncate'):
            report['BackupTruncateLogs'] = server.call('BackupTruncateLogs')[0]
        report['BackupEnd'] = server.call('BackupEnd')[0]
        report['BackupEnd again'] = server.call('BackupEnd')[0]
    # One of the references that activation gave, as Impacket itself releases: the object stays.
    server.unknown(RELEASE, refs=[(server.ipid, 1)])
    report['after one release'] = server.call('Ping', authority=authority)[0]
    # All of them, then one call more: what was released must be gone.
    report['RemAddRef'] = [r['Data'] for r in server.unknown(ADDREF, refs=[(server.ipid, 2)])['results']]
    server.unknown(RELEASE, refs=[(server.ipid, job['references'] + 1), (second.ipid, 1)])
    report['after release'] = channel.fault(lambda: server.call('Ping', authority=authority))
    channel.close()
    return report


def session(job, report, server, prepare):
    lists = report['lists']
    for name in ('RestoreGetDatabaseLocations', 'BackupGetAttachmentInformation', 'BackupGetBackupLogs',
                 'BackupGetDynamicFiles'):
        code, names = server.names(name)
        lists[name] = {'code': code, 'names': names}
    databases = lists['BackupGetAttachmentInformation']['names']
    if job.get('misuse'):
        misuse(report, server, prepare, lists['BackupGetDynamicFiles']['names'], databases)
    files(report, server, databases, job['sizes'] + (job.get('database_sizes') or []))
    # The logs that close the copy are those listed when the databases are done.
    code, logs = server.names('BackupGetBackupLogs')
    lists['BackupGetBackupLogs'] = {'code': code, 'names': logs}
    files(report, server, logs, job['sizes'])


def ping(exporter, remote):
    """Pings on the resolver's port, as a client with a long session sends them."""
    answer = exporter.ComplexPing(0, 0, [remote.get_oid()], [])
    simple = exporter.SimplePing(answer['pSetId'])['ErrorCode']
    resolved = exporter.ResolveOxid2(remote.get_oxid(), (7,))
    return [answer['ErrorCode'], answer['pSetId'] != 0], simple, addresses(resolved)


def addresses(bindings):
    return [b['aNetworkAddr'].rstrip('\0') for b in bindings]


def main(make, job):
    """Runs the job over the channel that make returns, and prints the report."""
    try:
        report = backup(job, make(job))
    except Exception as e:  # the libraries raise what they like, and each is a finding
        if job.get('debug'):
            raise
        report = {'error': '%s: %s' % (type(e).__name__, e)}
    json.dump(report, sys.stdout)
    print()
