"""Accounts of the test domain: a user who backs up, a service that has host/NAME and RPCSS/NAME, and a machine.

Usage: samba_accounts.py SMB.CONF USER PASSWORD NAME
"""

import sys

import ldb
from samba import param
from samba.auth import system_session
from samba.samdb import SamDB

conf, user, password, name = sys.argv[1:]
lp = param.LoadParm()
lp.load(conf)
sam = SamDB(session_info=system_session(lp), lp=lp)
sam.newuser(user, password)
sam.newuser('svc-ca', password + '-svc')
sam.newcomputer('GHOST')  # a machine account, GHOST$; there is no user of that name
sam.setpassword('(sAMAccountName=GHOST$)', password + '-ghost')
for account, attributes in {
    user: {'msDS-SupportedEncryptionTypes': ['24']},  # AES128 and AES256
    'svc-ca': {'msDS-SupportedEncryptionTypes': ['24'],
               'servicePrincipalName': ['host/' + name, 'RPCSS/' + name]},
}.items():
    found = sam.search(expression='(sAMAccountName=%s)' % account, attrs=[])
    change = ldb.Message(found[0].dn)
    for key, values in attributes.items():
        change[key] = ldb.MessageElement(values, ldb.FLAG_MOD_REPLACE, key)
    sam.modify(change)
