# Steps with time limits, and what they found: a row each, then a table and a JSON. Sourced.
# shellcheck shell=bash disable=SC2154

# The log takes what programs say; the terminal, a line a step and the table.
begin_report() {
  rows=$scratch/rows
  : >"$rows"
  : >"$out/log.txt"
  current=start step_end=$deadline
}

# row WHAT VALUE LIMIT FRACTION STATE: "-" for what there is none of. The state is ok, reached or
# missed (goals), or begins with failed or skipped.
row() {
  local IFS=$'\t'
  printf '%s\n' "$current"$'\t'"$*" >>"$rows"
}

# step NAME SECONDS COMMAND: in a shell of its own, within its time and what is left of all.
step() {
  current=$1
  step_end=$((SECONDS + $2 < deadline ? SECONDS + $2 : deadline))
  if ((step_end - SECONDS < 5)); then
    local what=${*:3}
    row "${what:0:44}" - - - "skipped: no time left"
    return
  fi
  say "$current"
  local begin=$SECONDS
  (set +e && "${@:3}") >>"$out/log.txt" 2>&1 || true
  echo "== $current took $((SECONDS - begin)) s" >>"$out/log.txt"
}

# Runs a command until the step's end at most, in the log with its words.
limited() {
  local left=$((step_end - SECONDS))
  printf '== %s\n' "$*" >>"$out/log.txt"
  ((left > 0)) || return 124
  timeout --kill-after=5 "$left" "$@"
}

# json_number FILE KEY FACTOR: of a JSON with a key a line.
json_number() {
  awk -v key="\"$2\":" -v factor="$3" \
    '$1 == key { sub(",", "", $2); printf "%.4g\n", $2 * factor; exit }' "$1"
}

json_text() { tr -d '\000-\037' <<<"$1" | sed 's/\\/\\\\/g; s/"/\\"/g; s/.*/"&"/'; }

write_json() {
  local file comma=''
  echo '{'
  local asked=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem
  asked+=,pcie.link.gen.max,pcie.link.width.max
  asked=$(nvidia_smi "--query-gpu=$asked" --format=csv,noheader 2>&1 | head -1) || true
  echo "  \"gpu\": $(json_text "$asked"),"
  echo "  \"commit\": $(json_text "$(git rev-parse HEAD 2>/dev/null)"),"
  echo "  \"date\": $(json_text "$(date -u +%FT%TZ)"),"
  echo "  \"seconds\": $SECONDS,"
  echo '  "rows": ['
  while IFS=$'\t' read -r at what value limit fraction state; do
    printf '%s    {"step": %s, "what": %s, "value": %s, "limit": %s, "fraction": %s, "state": %s}' \
      "$comma" "$(json_text "$at")" "$(json_text "$what")" "$(json_text "$value")" \
      "$(json_text "$limit")" "$(json_text "$fraction")" "$(json_text "$state")"
    comma=$',\n'
  done <"$rows"
  printf '\n  ],\n  "benches": {'
  comma=$'\n'
  for file in "$scratch"/*.json; do
    [[ -s $file ]] || continue
    printf '%s"%s": ' "$comma" "$(basename "$file" .json)"
    cat "$file"
    comma=$',\n'
  done
  printf '}\n}\n'
}

finish_report() {
  write_json >"$out/gpu.json"
  {
    printf '%-10s %-46s %14s %14s %9s  %s\n' step what value limit fraction state
    awk -F '\t' '{ printf "%-10s %-46s %14s %14s %9s  %s\n", $1, $2, $3, $4, $5, $6 }' "$rows"
  } | tee "$out/table.txt"
  truncate --size='<15M' "$out/log.txt"
  local failed
  failed=$(awk -F '\t' '$6 ~ /^failed/' "$rows" | wc -l)
  say "$failed failed, $SECONDS s; $out has gpu.json, table.txt and log.txt"
  ((failed == 0))
}
