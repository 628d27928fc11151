# Speeds beside the machine's limits, and beside peers that are there. Sourced.
# shellcheck shell=bash disable=SC2154,SC2054

# bench NAME SHAPE WEIGHTS VRAM OPTION...: a row a case; VRAM "all" is as much as the weights want.
bench() {
  local name=$1 shape=$2 weights=$3 vram=$4 state status=0 table=$scratch/$1.txt
  shift 4
  [[ $vram == all ]] && vram=auto
  limited "$sluice" bench "$shape" --weights "$weights" "${on_gpu[@]}" --vram "$vram" \
    --drawn-layers 1 "$@" -q --json "$scratch/$name.json" >"$table" || status=$?
  if ((status != 0)); then
    rm -f "$scratch/$name.json"
    state="failed: status $status"
    ((status != 124 || step_end < deadline)) || state="skipped: no time left"
    row "$name" - - - "$state"
    return
  fi
  cat "$table"
  awk -v OFS=' ' '$1 ~ /^(prefill|decode|batch)$/ { print $1, $2, $3, $4, $6, $7, $8, $10 }' \
    "$table" | while read -r case sequences prompt speed limit by reached overlap; do
    state="ok: by $by"
    [[ $overlap == - ]] || state+=", overlap $overlap"
    row "$name $case x$sequences @$prompt" "$speed tok/s" "$limit" "$reached %" "$state"
  done
}

# unless_resident BENCH COMMAND...: a larger limit changes nothing where nothing is streamed.
unless_resident() {
  if [[ $(json_number "$scratch/$1.json" streamed_bytes_per_pass 1 2>/dev/null) == 0 ]]; then
    row "$3" - - - "skipped: as $1, which streams nothing"
  else
    "${@:2}"
  fi
}

# goal WHAT BENCH CASE PROMPT LEAST: the share of the limit that was reached, held against LEAST.
goal() {
  local reached
  reached=$(awk -v c="$3" -v p="$4" '$1 == c && $2 == 1 && $3 == p { print $8; exit }' \
    "$scratch/$2.txt" 2>/dev/null)
  if [[ -z $reached ]]; then
    row "$1" - "$5 %" - "skipped: not measured"
  elif awk -v a="$reached" -v b="$5" 'BEGIN { exit !(a >= b) }'; then
    row "$1" "$reached %" "$5 %" - reached
  else
    row "$1" "$reached %" "$5 %" - missed
  fi
}

# The first of a bench's decodes, in tokens/s.
decode_speed() {
  awk '$1 == "\"case\":" { decode = $2 == "\"decode\"," }
    decode && $1 == "\"tokens_per_second\":" { sub(",", "", $2); print $2; exit }' \
    "$scratch/$1.json" 2>/dev/null
}

# times WHAT LEAST OURS OTHERS: one speed over another, held against LEAST.
times() {
  if [[ -z $3 || -z $4 ]]; then
    row "$1" - "$2" - "skipped: not measured"
    return
  fi
  local ratio state
  ratio=$(awk -v a="$3" -v b="$4" 'BEGIN { printf "%.2f", a / b }')
  state=$(awk -v a="$3" -v b="$4" -v least="$2" 'BEGIN { print a >= least * b ? "reached" : "missed" }')
  row "$1" "$ratio" "$2" - "$state"
}

goal_step() {
  goal "70b streamed decode at 24 GiB" 70b-q4_0-24GiB-alone decode 512 95
  goal "70b prefill of 4096 at 24 GiB" 70b-q4_0-24GiB-alone prefill 4096 85
  times "70b decode at 24 GiB with the CPU, x without" 1.2 \
    "$(decode_speed 70b-q4_0-24GiB)" "$(decode_speed 70b-q4_0-24GiB-alone)"
  goal "70b resident decode, of memory" 70b-q4_0-all decode 512 80
  goal "8b resident decode, of memory" 8b-q4_0-all decode 512 80
  times "1.1b resident decode with graphs, x without" 1 \
    "$(decode_speed 1.1b-q4_0-all)" "$(decode_speed 1.1b-q4_0-steps)"
  times "8b resident decode with graphs, x without" 1 \
    "$(decode_speed 8b-q4_0-all)" "$(decode_speed 8b-q4_0-steps)"
  times "8b bf16 decode at 8 GiB, x Accelerate" 3 "$(decode_speed 8b-bf16-8GiB)" \
    "$(json_number "$scratch/accelerate.json" decode_tokens_per_second 1 2>/dev/null)"
}

# A streamed pass takes a good part of a second, which needs neither many tokens nor rounds to be
# told precisely.
few=(--prompt-tokens 512,4096 --sequences 1,8,32,64 --max-tokens 4 --repeats 1 --warm-up 0)
many=(--prompt-tokens 512,4096 --sequences 1,8,32,64 --max-tokens 32 --repeats 2)

# What goals are held against. Without the CPU's help, the link is what a streamed decode is bound by.
alone=(--host-units 0 --host-cache 0)

first_benches() {
  if $emulated; then
    local tiny=(--prompt-tokens 8,24 --sequences 1,3 --max-tokens 2 --repeats 1 --warm-up 0)
    step bench 20 bench tiny-q4_0-all tiny q4_0 all "${tiny[@]}"
    step bench 20 bench tiny-f16-99MiB tiny f16 99MiB "${tiny[@]}"
    step bench 20 bench tiny-q4_0-steps tiny q4_0 all "${tiny[@]}" --no-graphs
    return
  fi
  step bench 60 bench 8b-q4_0-all llama-3-8b q4_0 all "${many[@]}"
  $quick && return
  step bench 90 bench 70b-q4_0-24GiB-alone llama-3-70b q4_0 24GiB "${few[@]}" "${alone[@]}"
  step bench 75 bench 70b-q4_0-24GiB llama-3-70b q4_0 24GiB "${few[@]}"
  step bench 60 bench 70b-q4_0-all llama-3-70b q4_0 all "${many[@]}"
  step bench 60 bench 8b-bf16-8GiB llama-3-8b bf16 8GiB "${few[@]}"
}

# Those that matter most come first: what time is too short for is skipped.
more_benches() {
  local one=(--prompt-tokens 512 --sequences 1 --max-tokens 64 --repeats 3)
  step peers 75 peer_step
  step bench 20 bench 1.1b-q4_0-all tinyllama-1.1b q4_0 all "${one[@]}"
  step bench 20 bench 1.1b-q4_0-steps tinyllama-1.1b q4_0 all "${one[@]}" --no-graphs
  step bench 30 bench 8b-q4_0-steps llama-3-8b q4_0 all "${one[@]}" --no-graphs
  step bench 60 bench 70b-q4_k-24GiB llama-3-70b q4_k 24GiB "${few[@]}"
  step bench 75 bench 70b-q4_0-8GiB llama-3-70b q4_0 8GiB "${few[@]}"
  step bench 30 bench 8b-q4_k-all llama-3-8b q4_k all "${many[@]}"
  step bench 60 bench 70b-q4_0-16GiB llama-3-70b q4_0 16GiB "${few[@]}"
  step bench 40 bench 8b-q4_0-8GiB llama-3-8b q4_0 8GiB "${many[@]}"
  step bench 40 bench 8b-q4_k-8GiB llama-3-8b q4_k 8GiB "${many[@]}"
  step bench 75 bench 70b-q4_k-8GiB llama-3-70b q4_k 8GiB "${few[@]}"
  step bench 60 bench 70b-q4_k-16GiB llama-3-70b q4_k 16GiB "${few[@]}"
  local weights vram
  for weights in q4_0 q4_k; do
    for vram in 16GiB 24GiB; do
      step bench 40 unless_resident "8b-$weights-8GiB" \
        bench "8b-$weights-$vram" llama-3-8b "$weights" "$vram" "${many[@]}"
    done
  done
  step bench 60 bench 70b-q4_k-all llama-3-70b q4_k all "${many[@]}"
}

peer_step() {
  if python3 -c 'import torch, transformers, accelerate' 2>/dev/null; then
    if limited python3 tests/gpu/accelerate_peer.py --max-memory-gib 8 --tokens 4 \
      --output "$scratch/accelerate.json"; then
      row "Accelerate, 8b bf16 at 8 GiB, decode" \
        "$(json_number "$scratch/accelerate.json" decode_tokens_per_second 1) tok/s" - - ok
      row "Accelerate, 8b bf16 at 8 GiB, prefill 512" \
        "$(json_number "$scratch/accelerate.json" prefill_tokens_per_second 1) tok/s" - - ok
    else
      row Accelerate - - - "skipped: it failed or took too long"
    fi
  else
    row Accelerate - - - "skipped: not installed"
  fi
  [[ -x ${LLAMA_BENCH:-} ]] || { row llama-bench - - - "skipped: no LLAMA_BENCH"; return; }
  "$sluice" synth llama-3-8b --weights q4_0 -o "$scratch/peer.gguf" -q
  limited "$LLAMA_BENCH" -m "$scratch/peer.gguf" -ngl 16,99 -p 512 -n 16 -r 1 -o csv \
    >"$scratch/llama.csv" ||
    { row llama-bench - - - "skipped: it failed or took too long"; return; }
  cat "$scratch/llama.csv"
  awk -F '","' '
    NR == 1 { gsub(/"/, ""); n = split($0, names, ","); for (i = 1; i <= n; ++i) at[names[i]] = i }
    NR > 1 { print $at["n_gpu_layers"], $at["n_prompt"], $at["n_gen"], $at["avg_ts"] }
  ' "$scratch/llama.csv" |
    while read -r layers prompt tokens speed; do
      row "llama-bench, 8b q4_0, $layers layers, pp$prompt tg$tokens" "${speed%\"} tok/s" - - ok
    done
}
