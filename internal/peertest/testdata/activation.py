"""Decodes the request of RemoteCreateInstance with Impacket's declarations.

Wireshark loses its place in it: see wireshark_test.go. Reads the stub in
hexadecimal digits and prints what it says.
"""

import json
import sys

from impacket.dcerpc.v5 import dcomrt
from impacket.uuid import bin_to_string

CLASSES = {
    dcomrt.CLSID_InstantiationInfo: dcomrt.InstantiationInfoData,
    dcomrt.CLSID_ActivationContextInfo: dcomrt.ActivationContextInfoData,
    dcomrt.CLSID_ServerLocationInfo: dcomrt.LocationInfoData,
    dcomrt.CLSID_ScmRequestInfo: dcomrt.ScmRequestInfoData,
}


def guid(item):
    return bin_to_string(item['Data']).lower()


request = dcomrt.RemoteCreateInstance(bytes.fromhex(json.load(sys.stdin)['stub']))
reference = dcomrt.OBJREF_CUSTOM(b''.join(request['pActProperties']['abData']))
data = reference['pObjectData']
blob = dcomrt.ACTIVATION_BLOB(data)
header = blob['CustomHeader']
report = {
    'sizes': [blob['dwSize'], header['totalSize'], reference['ObjectReferenceSize'] - 8 - 8],
    'clsid': bin_to_string(reference['clsid']).lower(),
    'properties': header['cIfs'],
}
# The sizes of all that precedes, the list's own included, say where a property is.
at = 8 + header['headerSize']
for clsid, size in zip(header['pclsid'], header['pSizes']):
    p = CLASSES[clsid['Data']]()
    p.fromStringReferents(data[at:at + size['Data']], p.fromString(data[at:at + size['Data']]))
    if p['CommonHeader']['CommonHeaderLength'] != 8 or p['CommonHeader']['Version'] != 1:
        raise ValueError('no property at %d' % at)
    if clsid['Data'] == dcomrt.CLSID_InstantiationInfo:
        report['class'] = bin_to_string(p['classId']).lower()
        report['interfaces'] = [guid(i) for i in p['pIID']]
        report['version'] = [p['clientCOMVersion']['MajorVersion'], p['clientCOMVersion']['MinorVersion']]
        report['sizes'].append(p['thisSize'] - size['Data'] + blob['dwSize'])
    elif clsid['Data'] == dcomrt.CLSID_ScmRequestInfo:
        report['protseqs'] = [n for n in p['remoteRequest']['pRequestedProtseqs']]
    at += size['Data']
report['rest'] = len(data) - at
json.dump(report, sys.stdout, default=str)
