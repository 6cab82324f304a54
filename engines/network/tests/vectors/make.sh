#!/bin/sh
# Makes the vectors anew: loads each golden table into a network namespace of its own and lists it as
# network::commands says, one listing per line; those of `-elsewhere` with numbers for names, as the keeper lists.
# Needs root and nft. The owner flag is left out, for such a table ends with the process that loads it.
set -eu
cd "$(dirname "$0")"
for golden in ../goldens/router-*.nft ../goldens/host-*.nft; do
  name=$(basename "$golden" .nft)
  case $name in *-elsewhere) form=-jn ;; *) form=-j ;; esac
  sed '/flags owner;$/{s/{ flags owner; }//;s/^\tflags owner;$//}' "$golden" | unshare -n sh -c '
    nft -f -
    for list in "chains inet" "sets inet" "maps inet" counters; do nft $2 list $list; done
    awk "/^table/ { table = \$2 \" \" \$3 } /^\tchain/ { print table, \$2 }" "$1" |
      while read -r chain; do nft $2 list chain $chain; done
  ' sh "$golden" "$form" >"$name.jsonl"
done
