# The library of expressions: what jq defines in terms of itself.
# Names with a leading underscore are ours; workflows can't call them.

def error(f): f | error;
def select(f): if f then . else empty end;
def tostring: "\(.)";
def values: select(. != null);
def nulls: select(. == null);
def booleans: select(type == "boolean");
def numbers: select(type == "number");
def strings: select(type == "string");
def arrays: select(type == "array");
def objects: select(type == "object");
def iterables: select(type | . == "array" or . == "object");
def scalars: select(type | . != "array" and . != "object");
def toarray: if type == "array" then . else [.] end;
def isvalid(f): try (f | true) catch false;

# Generators
def range($upto): range(0; $upto; 1);
def range($from; $upto): range($from; $upto; 1);
def repeat(f): def _rec: ., (f | _rec); _rec;
def recurse(f): def _rec: ., (f | _rec); _rec;
def recurse: recurse(.[]?);
def recurse(f; cond): recurse(f | select(cond));
def while(cond; f): def _rec: if cond then ., (f | _rec) else empty end; _rec;
def until(cond; f): def _rec: if cond then . else f | _rec end; _rec;
def isempty(f): first((f | false), true);
def nth($n): .[$n];
def nth($n; f): if $n < 0 then error("a position is not negative") else first(skip($n; f)) end;
def first: .[0];
def last: .[-1];
def all(f; cond): isempty(f | cond | select(not));
def any(f; cond): isempty(f | cond | select(.)) | not;
def all(cond): all(.[]; cond);
def any(cond): any(.[]; cond);
def all: all(.[]; .);
def any: any(.[]; .);
def in($xs): . as $key | $xs | has($key);
def inside($xs): . as $part | $xs | contains($part);
def IN(f): any(f == .; .);
def IN(f; g): any(f == g; .);
def combinations:
  if length == 0 then [] else .[0][] as $head | (.[1:] | combinations) as $tail | [$head] + $tail end;

# Arrays and objects
def map(f): [.[] | f];
def map_values(f): .[] |= f;
def add(f): [f] | _sum;
def add: [.[]] | _sum;
def flatten: flatten(1000);
def sort_by(f): _sort_by([f]);
def group_by(f): _group_by([f]);
def unique_by(f): [_group_by([f])[] | .[0]];
def min_by(f): _min_by([f]);
def max_by(f): _max_by([f]);
def sort: sort_by(.);
def unique: unique_by(.);
def min: min_by(.);
def max: max_by(.);
def transpose: . as $rows | (map(length) | max // 0) as $width
  | [range($width) as $i | [$rows[][$i]]];
def to_entries: [key_values[] | {key: .[0], value: .[1]}];
def from_entries: reduce .[] as $e ({};
  . + {($e | if type == "object" then
      (if has("key") then .key elif has("k") then .k elif has("name") then .name
       elif has("Name") then .Name elif has("Key") then .Key else .K end)
    else .[0] end
    | if type == "string" then . elif . == null then "null" else tojson end):
    ($e | if type == "object" then
      (if has("value") then .value elif has("v") then .v elif has("Value") then .Value else .V end)
    else .[1] end)});
def with_entries(f): to_entries | map(f) | from_entries;
def INDEX(f): reduce .[] as $row ({}; .[$row | f | tostring] = $row);
def INDEX(rows; f): reduce rows as $row ({}; .[$row | f | tostring] = $row);

# Paths
def paths: path(..) | select(length > 0);
def paths(cond): path(.. | select(cond)) | select(length > 0);
def leaf_paths: paths(scalars);
def getpath($path): reduce $path[] as $key (.; .[$key]);
def setpath($path; $x): getpath($path) = $x;
def delpaths($paths): reduce ($paths | sort | reverse | .[]) as $path (.; getpath($path) |= empty);
def del(f): delpaths([path(f)]);
def pick(f): . as $whole | reduce path(f) as $path (null; setpath($path; $whole | getpath($path)));
def walk(f): .. |= f;
def to_paths: [paths];

# Text
def index($part): indices($part) | .[0];
def rindex($part): indices($part) | .[-1];
def @text: tostring;
def @json: tojson;
def @html: tostring | _html;
def @uri: tostring | _uri;
def @sh: _sh;
def @csv: _csv;
def @tsv: _tsv;
def @base64: tostring | _base64;
def @base64d: tostring | _base64d;
def todate: todateiso8601;
def fromdate: fromdateiso8601;

# Regular expressions
def match($re; $flags): _matches($re; $flags) | .[];
def match($re): match($re; "");
def test($re; $flags): _matches($re; $flags) | length > 0;
def test($re): test($re; "");
def _named: [.captures[] | select(.name != null) | {key: .name, value: .string}] | from_entries;
def capture($re; $flags): match($re; $flags) | _named;
def capture($re): capture($re; "");
def scan($re; $flags): match($re; "g" + $flags)
  | if (.captures | length) > 0 then [.captures[].string] else .string end;
def scan($re): scan($re; "");
def split($re; $flags): . as $text | [_matches($re; "g" + $flags) | .[]]
  | [foreach (.[], null) as $m ({upto: 0};
      if $m == null then .part = $text[.upto:]
      else .part = $text[.upto:$m.offset] | .upto = $m.offset + $m.length end; .part)];
def splits($re; $flags): split($re; $flags) | .[];
def splits($re): splits($re; "");
def sub($re; f; $flags): . as $text
  | reduce _matches($re; $flags)[] as $m ({upto: 0, done: []};
      .done += [$text[.upto:$m.offset], ($m | _named | f)] | .upto = $m.offset + $m.length)
  | .done + [$text[.upto:]] | _sum;
def sub($re; f): sub($re; f; "");
def gsub($re; f; $flags): sub($re; f; "g" + $flags);
def gsub($re; f): gsub($re; f; "");
