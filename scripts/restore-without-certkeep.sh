#!/bin/bash
# Restores a backup set from a certkeep repository in a directory, without certkeep.
# Needs bash, coreutils, awk, jq, zstd, age, and openssl 3 for signatures. The format is in
# docs/repository-format.md.
#
#   restore-without-certkeep.sh REPOSITORY-DIR IDENTITY-FILE                      lists sets
#   restore-without-certkeep.sh REPOSITORY-DIR IDENTITY-FILE SET-ID OUTPUT-DIR    restores one
#
# IDENTITY-FILE is what age -i takes; "-" has age ask for the passphrase of a passphrase
# recipient. SET-ID is HOST/SET where hosts have sets of the same id. OUTPUT-DIR must not exist.
# If CERTKEEP_ROOT is set, the repository must have that root key. Scratch space of about
# 2 GiB is used in TMPDIR, and holds keys and contents while the script runs.
set -euo pipefail
export LC_ALL=C
umask 077

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
say() { printf '%s\n' "$*" >&2; }

case $# in
2) want='' out='' ;;
4) want=$3 out=$4 ;;
*) die "usage: REPOSITORY-DIR IDENTITY-FILE [SET-ID OUTPUT-DIR]" ;;
esac
repo=$(cd -- "$1" && pwd) || die "$1: no directory"
identity=$2
[[ -z $out || ! -e $out ]] || die "$out is there already"
[[ $identity == - || -r $identity ]] || die "$identity cannot be read"
for program in age zstd jq awk sha256sum dd base64; do
	command -v "$program" >/dev/null || die "$program is not installed"
done

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work/segments"

hash_of() { local h; h=$(sha256sum <"$1"); printf '%s' "${h%% *}"; }
is_hash() { [[ $1 =~ ^[0-9a-f]{64}$ ]]; }

# meta HASH: the path of an object of metadata, whose hash is right.
meta() {
	is_hash "$1" || die "an object's name is no SHA-256"
	local path=$repo/meta/${1:0:2}/$1
	[[ -f $path ]] || die "meta/${1:0:2}/$1 is missing"
	[[ $(hash_of "$path") == "$1" ]] || die "meta/${1:0:2}/$1 is damaged: it has another hash"
	printf '%s' "$path"
}

# open_sealed HASH KEYS: what is sealed in an object. At most 96 MiB: more is none of certkeep's.
open_sealed() {
	local path
	path=$(meta "$1") || return 1
	age -d -i "$2" <"$path" | zstd -dcq | bounded 100663296
}

# bounded BYTES passes so much on, and fails if there is more.
bounded() {
	head -c "$1"
	[[ -z $(head -c 1 | tr '\0' x) ]] || { say "an object unfolds to more than $1 bytes"; return 1; }
}

# --- what the repository is

announce=$repo/certkeep-repository.json
[[ -f $announce ]] || die "$repo: no repository: there is no certkeep-repository.json"
[[ $(jq -r .format "$announce") == 'certkeep repository' ]] || die "$announce is not certkeep's"
[[ $(jq -r .version "$announce") == 1 ]] || die "$announce: of a newer version, this script reads 1"
id=$(jq -r .repository "$announce")
root=$(jq -r .root "$announce")
[[ $id =~ ^[0-9a-f]{16}$ ]] && is_hash "$root" || die "$announce is damaged"
[[ -z ${CERTKEEP_ROOT-} || ${CERTKEEP_ROOT,,} == "$root" ]] || die "the root key is $root, and not that of CERTKEEP_ROOT: it is another repository"
say "repository $id, root key $root"

# --- journals: JSON lines of {author, seq, stored, records}, those that count

signatures=no
if command -v openssl >/dev/null && openssl pkeyutl -help 2>&1 | grep -q rawin; then
	signatures=yes
else
	say "SIGNATURES ARE NOT CHECKED, because openssl 3 is not installed: only hashes are. Whoever could write to the repository could have replaced sets."
fi

# signed ENTRY KEY: whether the entry is signed with the key (hexadecimal).
signed() {
	[[ $signatures == yes ]] || return 0
	# The DER form of an Ed25519 key is these twelve bytes and the key (RFC 8410).
	local hex=302a300506032b6570032100$2
	# shellcheck disable=SC2059 # it is a string of escapes that was made here
	printf "$(sed 's/../\\x&/g' <<<"$hex")" >"$work/public.der"
	sed -n 2p "$1" | base64 -d >"$work/signature" 2>/dev/null || return 1
	{ printf 'certkeep journal 1\n'; head -n 1 "$1" | head -c -1; } >"$work/signed"
	openssl pkeyutl -verify -pubin -keyform DER -inkey "$work/public.der" -rawin -in "$work/signed" -sigfile "$work/signature" >/dev/null 2>&1
}

# journal AUTHOR KEY LAST [HASH]: its entries up to LAST. If that has a HASH the author was revoked
# as of it, and only what it follows from counts.
journal() {
	local broken
	local dir=$repo/journal/$1 f n hash next=1 previous=''
	[[ -d $dir ]] || return 0
	: >"$work/one"
	for f in "$dir"/*; do
		n=${f##*/}
		[[ $n =~ ^[0-9]{8,15}$ ]] || continue
		((10#$n <= $3)) || break
		if ! signed "$f" "$2" || ! jq -e --arg r "$id" --arg a "$1" --argjson n "$((10#$n))" \
			'.schema == 1 and .repository == $r and .author == $a and .seq == $n' >/dev/null 2>&1 < <(head -n 1 "$f"); then
			say "WARNING: journal/$1/$n is damaged or not signed by $1: passed over"
			continue
		fi
		hash=$(hash_of "$f")
		broken=no
		if ((10#$n != next)); then
			say "WARNING: journal of $1: entries from $next to $((10#$n - 1)) are missing" && broken=yes
		elif [[ $(head -n 1 "$f" | jq -r .previous) != "$previous" ]]; then
			say "WARNING: journal/$1/$n does not follow from the entry before: one of them was replaced" && broken=yes
		fi
		[[ $broken == no || -z ${4-} ]] || : >"$work/one"
		next=$((10#$n + 1)) previous=$hash
		head -n 1 "$f" | jq -c --argjson t "$(stat -c %.6Y "$f")" --arg h "$hash" '{author, seq, stored: $t, hash: $h, records: (.records // [])}' >>"$work/one"
	done
	if [[ -n ${4-} && $previous != "$4" ]]; then
		say "WARNING: journal of $1: entry $3 is not the one that was there when the host was revoked: nothing of it counts"
		return 0
	fi
	cat "$work/one"
}

journal root "$root" 999999999999999 >"$work/root"
jq -s '
	[.[].records[]?] as $r
	| reduce ($r[] | select(.type == "host")) as $h ({}; if .[$h.host] then . else .[$h.host] = $h + {last: 999999999999999} end)
	| reduce ($r[] | select(.type == "host-revoked")) as $g (.; if .[$g.host] != null and $g.last.seq < .[$g.host].last then .[$g.host] += {last: $g.last.seq, hash: $g.last.sha256} else . end)
' <"$work/root" >"$work/hosts"
cp "$work/root" "$work/entries"
while IFS=$'\t' read -r host key last hash; do
	[[ $host =~ ^[0-9a-f]{16}$ ]] && is_hash "$key" || continue
	journal "$host" "$key" "$last" "$hash" >>"$work/entries"
done < <(jq -r '.[] | [.host, .key, .last, .hash // ""] | @tsv' "$work/hosts")

# The sets, with what was said of each later: of the one that is named, or the last of that id before.
jq -s --slurpfile hosts "$work/hosts" '
	def may($role): .author == "root" or (($hosts[0][.author].roles // []) | index($role) != null);
	def named($n): .author == $n.author and .set == $n.set;
	def of($n; $e): [.sets | to_entries[] | select(.value | named($n) and
		(if ($n.entry // 0) != 0 then .seq == $n.entry else $n.author == $e.author and .seq <= $e.seq end)) | .key] | last;
	[.[] | . as $e | .records[]? | {author: $e.author, seq: $e.seq, stored: $e.stored, hash: $e.hash, r: .}] as $all
	| {sets: [$all[] | select(.r.type == "set" and may("backup")) | .r + {author, seq, stored, hash, state: "", objects: .r}]}
	| reduce ($all[] | select((.r.type == "withdrawn") or (.r.type == "receipt"))) as $e (.;
		of({author: $e.author, set: $e.r.set}; $e) as $i
		| if $i == null then . elif $e.r.type == "receipt" then .sets[$i].receipt = $e.r.object.sha256 else .sets[$i].state = "withdrawn" end)
	| reduce ($all[] | select(.r.type == "forget" and may("retention"))) as $e (.;
		reduce ($e.r.sets[]?) as $n (.; of($n; $e) as $i | if $i == null then . elif .sets[$i].state == "" then .sets[$i].state = "forgotten" else . end))
	| reduce ($all[] | select(.r.type == "layout" and .author == "root")) as $e (.;
		of($e.r.set; $e) as $i | if $i == null or ($e.r.of // .sets[$i].hash) != .sets[$i].hash then . else .sets[$i].objects = $e.r end)
	| .sets
	# While a set of a name is live, another of that name is not one: the first counts.
	| group_by([.author, .set]) | map(map(select(.state == ""))[0] // .[-1]) | sort_by(.set, .author)
' <"$work/entries" >"$work/sets"

# --- keys: of the repository, newest first, and of the authorities

while IFS=$'\t' read -r object kind; do
	path=$(meta "$object") || continue
	if [[ $identity == - ]]; then
		[[ $kind == passphrase ]] || continue
		age -d -o "$work/repository.keys" "$path" && break
	else
		[[ $kind != passphrase ]] || continue
		age -d -i "$identity" <"$path" >"$work/keys.new" 2>"$work/age.error" && mv "$work/keys.new" "$work/repository.keys" && break
	fi
done < <(jq -rs '
	reduce .[].records[]? as $r ([]; if $r.type == "recipient" then . + [$r] elif $r.type == "recipient-removed" then map(select(.id != $r.id)) else . end)
	| sort_by(-.epoch)[] | [.object.sha256, .kind] | @tsv' "$work/root")
if [[ ! -s $work/repository.keys ]]; then
	[[ ! -s $work/age.error ]] || cat "$work/age.error" >&2
	die "the identity opens no recipient's slot. Hybrid and plugin identities need an age that knows them."
fi

# keys_of CA writes the authority's metadata key to $work/ca.keys. The oldest record counts.
keys_of() {
	local object
	object=$(jq -rs --slurpfile hosts "$work/hosts" --arg ca "$1" '
		[.[] | select(.author == "root" or (($hosts[0][.author].roles // []) | index("backup") != null)) | .stored as $t | .records[]? | select(.type == "ca" and .ca == $ca) | . + {t: $t}]
		| min_by(.t).object.sha256 // ""' "$work/entries")
	[[ -n $object ]] || return 1
	open_sealed "$object" "$work/repository.keys" >"$work/ca.json" && jq -r .metadata_key "$work/ca.json" >"$work/ca.keys"
}

if [[ -z $want ]]; then
	printf '%-16s  %-31s  %-11s  %14s  %-9s  %s\n' HOST SET TYPE BYTES STATE AUTHORITY
	while IFS=$'\t' read -r author set ca manifest bytes state; do
		if (keys_of "$ca" && open_sealed "$manifest" "$work/ca.keys" >"$work/manifest"); then
			IFS=$'\t' read -r type name < <(jq -r '[.type, .ca.name] | @tsv' "$work/manifest")
		else
			type='?' name="(no manifest)"
		fi
		printf '%-16s  %-31s  %-11s  %14s  %-9s  %s\n' "$author" "$set" "$type" "$bytes" "${state#-}" "$name"
	done < <(jq -r '.[] | [.author, .set, .ca, .manifest.sha256, .bytes, (if .state == "" then "-" else .state end)] | @tsv' "$work/sets")
	exit 0
fi

# --- the set

jq --arg w "$want" '[.[] | select(.set == $w or .author + "/" + .set == $w)] | (map(select(.state == "")) | select(length > 0)) // .' "$work/sets" >"$work/found"
case $(jq length "$work/found") in
0) die "there is no set $want" ;;
1) ;;
*) die "$want: several hosts have a set of that id: $(jq -r 'map(.author + "/" + .set) | join(", ")' "$work/found")" ;;
esac
state=$(jq -r '.[0].state' "$work/found")
[[ -z $state ]] || say "WARNING: the set was $state: parts of it may have been deleted"
keys_of "$(jq -r '.[0].ca' "$work/found")" || die "the keys of the set's authority cannot be had"
open_sealed "$(jq -r '.[0].manifest.sha256' "$work/found")" "$work/ca.keys" >"$work/manifest"
open_sealed "$(jq -r '.[0].objects.layout.sha256' "$work/found")" "$work/ca.keys" >"$work/layout"
table=$(meta "$(jq -r '.[0].objects.table.sha256' "$work/found")")
zstd -dcq <"$table" | bounded 536870912 >"$work/table"
set_id=$(jq -r '.[0].set' "$work/found")
for part in manifest layout; do
	[[ $(jq -r 'if has("set") then .set else .id end' "$work/$part") == "$set_id" ]] || die "the $part is of another set"
done

# Where segments are: SHA-256, pack, offset, length. Packs that the table names first; a prune may
# have moved segments, and then all packs are looked through.
pack_header() { # PACK adds its segments to the index
	local path=$repo/packs/${1:0:2}/$1 word1 word2 version count rest
	[[ -f $path ]] || return 0
	read -r word1 word2 version count rest < <(head -c 64 "$path" | head -n 1 | tr -d '\0') || return 0
	if [[ "$word1 $word2 $version$rest" != "certkeep pack 1" || ! $count =~ ^[1-9][0-9]{0,3}$ ]]; then
		say "WARNING: pack $1 is damaged"
		return 0
	fi
	head -n $((count + 1)) "$path" >"$work/header"
	if [[ $(hash_of "$work/header") != "$1" ]]; then
		say "WARNING: pack $1 is damaged: its header is not the one that its name stands for"
		return 0
	fi
	awk -v pack="$1" -v at="$(stat -c %s "$work/header")" 'NR > 1 { print $1, pack, at, $2; at += $2 }' "$work/header" >>"$work/index"
}
: >"$work/index"
awk '{ if ($2 != "-") pack = $2; if (!(pack in seen)) print pack; seen[pack] = 1 }' "$work/table" >"$work/packs"
while read -r pack; do
	is_hash "$pack" || die "the table of segments is damaged"
	pack_header "$pack"
done <"$work/packs"
# A table may name segments that are no longer used, with no bits: they may be gone.
missing() { awk 'NR == FNR { there[$1] = 1; next } $3 != "0" && !($1 in there) { n++ } END { print n + 0 }' "$work/index" "$work/table"; }
if [[ -s $work/table && $(missing) != 0 ]]; then
	say "segments were moved: looking through all packs"
	for path in "$repo"/packs/??/*; do
		pack=${path##*/}
		is_hash "$pack" && ! grep -qx "$pack" "$work/packs" && pack_header "$pack"
	done
	n=$(missing)
	[[ $n == 0 ]] || say "WARNING: $n segments are missing"
fi
# By their numbers in the table: pack, offset, length, SHA-256.
mapfile -t segment < <(awk 'NR == FNR { at[$1] = $2 " " $3 " " $4; next } { print (($1 in at) ? at[$1] : "- 0 0"), $1 }' "$work/index" "$work/table")

cached=0
unpack() { # NUMBER opens a segment into $work/segments/NUMBER
	[[ ! -f $work/segments/$1 ]] || return 0
	if ((cached >= 2048)); then # of at most 1 MiB each
		rm -rf "$work/segments"
		mkdir "$work/segments"
		cached=0
	fi
	local pack off len hash
	read -r pack off len hash <<<"${segment[$1]-}"
	[[ -n $pack ]] || die "a chunk list names segment $1, and the table has no such"
	[[ $pack != - ]] || die "segment $hash is missing"
	dd if="$repo/packs/${pack:0:2}/$pack" iflag=skip_bytes,count_bytes skip="$off" count="$len" bs=1M status=none of="$work/sealed"
	[[ $(hash_of "$work/sealed") == "$hash" ]] || die "segment $hash in pack $pack is damaged: it has another hash"
	age -d -i "$work/repository.keys" <"$work/sealed" | zstd -dcq | bounded 1048576 >"$work/segments/$1" || die "segment $hash in pack $pack cannot be opened"
	cached=$((cached + 1))
}

# expand: chunk lists to runs, "SEGMENT OFFSET LENGTH" of chunks that lie one behind another.
expand() {
	awk 'function put() { if (n) printf "%d %d %d\n", s, from, to - from }
	NF == 1 { if (!NR || !len) exit 1; off += len }
	NF == 4 { seg = $1; off = $2; len = $3 }
	NF != 1 && NF != 4 { exit 1 }
	{ if (n && seg == s && off == to) to += len; else { put(); s = seg; from = off; to = off + len }; n++ }
	END { put() }'
}

dir_of() {
	case $1 in
	database | log | locations) printf DataBase ;;
	dynamic) printf DynamicFiles ;;
	companion) printf Companions ;;
	*) die "a file has the unknown role $1" ;;
	esac
}

mkdir "$out"
files=$(jq '.files | length' "$work/manifest")
for ((i = 0; i < files; i++)); do
	IFS=$'\t' read -r role size sum < <(jq -r --argjson i "$i" '.files[$i] | [.role, .size, .sha256] | @tsv' "$work/manifest")
	name=$(jq -r --argjson i "$i" '.files[$i].name' "$work/manifest")
	case $name in '' | . | .. | */* | *\\* | *[[:cntrl:]]*) die "a file is called '$name': not restored" ;; esac
	dir=$out/$(dir_of "$role")
	mkdir -p "$dir"
	[[ ! -e $dir/$name ]] || die "$name is there twice"
	jq --arg role "$role" --arg name "$name" '[.files[] | select(.role == $role and .name == $name)][0] // error("not there")' "$work/layout" >"$work/file" || die "the layout has no $name"
	if [[ $(jq -r '.list // ""' "$work/file") != '' ]]; then
		jq -j .list "$work/file" >"$work/list"
	else
		: >"$work/list"
		while read -r list; do
			open_sealed "$list" "$work/ca.keys" >>"$work/list"
		done < <(jq -r '.lists[]?.sha256' "$work/file")
	fi
	expand <"$work/list" >"$work/runs" || die "$name: the chunk list is damaged"
	while read -r number off len; do
		unpack "$number"
		dd if="$work/segments/$number" iflag=skip_bytes,count_bytes skip="$off" count="$len" bs=1M status=none
	done <"$work/runs" >"$dir/$name"
	[[ $(stat -c %s "$dir/$name") == "$size" ]] || die "$name has $(stat -c %s "$dir/$name") bytes, and the manifest says $size"
	[[ $(hash_of "$dir/$name") == "$sum" ]] || die "$name has another SHA-256 than the manifest says"
	say "$(dir_of "$role")/$name: $size bytes, SHA-256 as in the manifest"
done

# Last: a directory without a manifest is no restored set.
receipt=$(jq -r '.[0].receipt // ""' "$work/found")
if [[ -n $receipt ]]; then
	open_sealed "$receipt" "$work/ca.keys" >"$out/certkeep-receipt.json"
else
	say "there is no receipt: the run was never confirmed, or its receipt was not stored"
fi
cp "$work/manifest" "$out/certkeep.json"
sync
say "$files files restored to $out"
[[ $signatures == yes ]] || say "SIGNATURES WERE NOT CHECKED."
