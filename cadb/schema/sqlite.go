package schema

// SQLite is the DDL of the embedded authority's database, for an empty
// database. It is only ever added to; the newest form is told by the columns
// that a database has, so a reader must ask for them by name.
//
// The tables are STRICT, so that integrity_check also reports a value of the
// wrong type. RequestID is given by the authority and grows; nothing here
// counts it, because it must be able to jump ahead after a restore.
// Certificates.RequestID equals Requests.RequestID; there is no FOREIGN KEY,
// which would cost a lookup for each row.
//
// AD CS has some twenty indexes. Each one is another page in the log for each
// commit, and for a random key another page for each row, so only those that
// the authority uses are here: the one on SerialNumber, which has to be random,
// keeps a serial from being given twice; the others grow at their end.
// Extensions and attributes are stored in the order of their key and need none.
const SQLite = `
CREATE TABLE Requests (
  RequestID INTEGER PRIMARY KEY NOT NULL,
  RawRequest BLOB,
  RawArchivedKey BLOB,
  KeyRecoveryHashes TEXT,
  RawOldCertificate BLOB,
  RequestAttributes TEXT,
  RequestType INTEGER,
  RequestFlags INTEGER,
  StatusCode INTEGER,
  Disposition INTEGER NOT NULL,
  DispositionMessage TEXT,
  SubmittedWhen INTEGER,
  ResolvedWhen INTEGER,
  RevokedWhen INTEGER,
  RevokedEffectiveWhen INTEGER,
  RevokedReason INTEGER,
  RequesterName TEXT,
  CallerName TEXT,
  SignerPolicies TEXT,
  SignerApplicationPolicies TEXT,
  Officer INTEGER,
  DistinguishedName TEXT,
  RawName BLOB,
  Country TEXT,
  Organization TEXT,
  OrgUnit TEXT,
  CommonName TEXT,
  Locality TEXT,
  State TEXT,
  Title TEXT,
  GivenName TEXT,
  Initials TEXT,
  SurName TEXT,
  DomainComponent TEXT,
  EMail TEXT,
  StreetAddress TEXT,
  UnstructuredName TEXT,
  UnstructuredAddress TEXT,
  DeviceSerialNumber TEXT
) STRICT;
CREATE INDEX RequestsDisposition ON Requests (Disposition);
CREATE INDEX RequestsRevokedEffectiveWhen ON Requests (RevokedEffectiveWhen) WHERE RevokedEffectiveWhen IS NOT NULL;

CREATE TABLE Certificates (
  RequestID INTEGER PRIMARY KEY NOT NULL,
  RawCertificate BLOB,
  CertificateHash TEXT,
  CertificateTemplate TEXT,
  EnrollmentFlags INTEGER,
  GeneralFlags INTEGER,
  PrivatekeyFlags INTEGER,
  SerialNumber TEXT,
  IssuerNameID INTEGER,
  NotBefore INTEGER,
  NotAfter INTEGER,
  SubjectKeyIdentifier TEXT,
  RawPublicKey BLOB,
  PublicKeyLength INTEGER,
  PublicKeyAlgorithm TEXT,
  RawPublicKeyAlgorithmParameters BLOB,
  PublishExpiredCertInCRL INTEGER,
  UPN TEXT,
  DistinguishedName TEXT,
  RawName BLOB,
  Country TEXT,
  Organization TEXT,
  OrgUnit TEXT,
  CommonName TEXT,
  Locality TEXT,
  State TEXT,
  Title TEXT,
  GivenName TEXT,
  Initials TEXT,
  SurName TEXT,
  DomainComponent TEXT,
  EMail TEXT,
  StreetAddress TEXT,
  UnstructuredName TEXT,
  UnstructuredAddress TEXT,
  DeviceSerialNumber TEXT
) STRICT;
CREATE UNIQUE INDEX CertificatesSerialNumber ON Certificates (SerialNumber) WHERE SerialNumber IS NOT NULL;
CREATE INDEX CertificatesNotAfter ON Certificates (NotAfter) WHERE NotAfter IS NOT NULL;

CREATE TABLE RequestAttributes (
  AttributeRequestId INTEGER NOT NULL,
  AttributeName TEXT NOT NULL,
  AttributeValue TEXT,
  PRIMARY KEY (AttributeRequestId, AttributeName)
) STRICT, WITHOUT ROWID;

CREATE TABLE CertificateExtensions (
  ExtensionRequestId INTEGER NOT NULL,
  ExtensionName TEXT NOT NULL,
  ExtensionFlags INTEGER,
  ExtensionRawValue BLOB,
  PRIMARY KEY (ExtensionRequestId, ExtensionName)
) STRICT, WITHOUT ROWID;

CREATE TABLE CRLs (
  RowId INTEGER PRIMARY KEY NOT NULL,
  Number INTEGER NOT NULL,
  MinBase INTEGER,
  NameId INTEGER,
  Count INTEGER,
  ThisUpdate INTEGER,
  NextUpdate INTEGER,
  ThisPublish INTEGER,
  NextPublish INTEGER,
  Effective INTEGER,
  PropagationComplete INTEGER,
  CRLLastPublished INTEGER,
  CRLPublishAttempts INTEGER,
  CRLPublishFlags INTEGER,
  CRLPublishStatusCode INTEGER,
  CRLPublishError TEXT,
  RawCRL BLOB
) STRICT;
CREATE INDEX CRLsNumber ON CRLs (Number);
`
