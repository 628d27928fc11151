# The engine against the CPU, under the sanitizer, and within its limit. Sourced.
# shellcheck shell=bash disable=SC2154

many_ids="1 17 5 250 33 8 91 140 22 7 64 3 199 12 77 45 130 2 88 210 56 9 31 160"  # more than 16
few_ids="5 250 33"

# Processes of limit_step.
limit_pids() {
  local process
  for process in /proc/[0-9]*; do
    [[ $process/exe -ef $sluice ]] && echo "${process#/proc/}"
  done
}

# Without a GPU, what it would say.
nvidia_smi() {
  if ! $emulated; then nvidia-smi "$@"; return; fi
  local busy
  busy=$(limit_pids | tail -1)
  case $1 in
    --query-compute-apps=*) [[ -z $busy ]] || echo "$busy, 64" ;;
    --query-gpu=memory.used) [[ -z $busy ]] && echo 10 || echo 74 ;;
    *) echo "emulated" ;;
  esac
}

# smallest_limit MODEL PROMPT_TOKENS MAX_TOKENS OPTION...: in bytes, as it is under "${tool[@]}".
smallest_limit() {
  local least
  least=$("${tool[@]}" "$sluice" plan "$1" "${on_gpu[@]}" --vram 1KiB --prompt-tokens "$2" \
    --max-tokens "$3" "${@:4}" 2>&1 || true)
  least=$(grep -oE 'works here is [0-9]+' <<<"$least") || return
  echo "${least##* }"
}

# Root mean square of the difference between two .npy files of floats, of the first's own; the first
# VALUES of them only, if given.
logits_apart() {
  local values=(od -An -v -t f4 -w4 -j 128)
  [[ -z ${3:-} ]] || values+=(-N $((4 * $3)))
  paste <("${values[@]}" "$1") <("${values[@]}" "$2") | awk '
    NF != 2 || /nan|inf/ { bad = 1 }
    { d = $1 - $2; apart += d * d; own += $1 * $1 }
    END { if (bad || own == 0) print "nan"; else printf "%.2e\n", sqrt(apart / own) }'
}

# within BYTES COMMAND...: with --vram BYTES, and if that is too little by now, some more: what the
# driver takes for itself isn't the same every time.
within() {
  local more status
  for more in 0 2 4 8; do
    status=0
    limited "${@:2}" --vram $(($1 + (more << 20))) || status=$?
    ((status == 4)) || return "$status"
  done
  return 4
}

# generate NAME MODEL IDS LIMIT OPTION...: leaves NAME.ids and NAME.npy. LIMIT in bytes, or none.
generate() {
  local start=(limited)
  [[ $4 == none ]] || start=(within "$4")
  "${start[@]}" "$sluice" run "$2" --ids -p "$3" --max-tokens 12 --ignore-eos -q \
    --logits "$scratch/$1.npy" "${@:5}" >"$scratch/$1.ids"
}

# against_cpu WHAT MODEL IDS LIMIT PRECISION MOST_APART OPTION...: of high precision all tokens have to be
# the same; of normal, whose CPU rounds activations of a prompt too, the first token's logits near.
# Those that are right share a row.
against_cpu() {
  local what=$1 precision=$5 most=$6 apart vocab state=ok
  generate gpu "$2" "$3" "$4" --precision "$precision" "${on_gpu[@]}" "${@:7}" ||
    { row "$what" - - - failed; return; }
  vocab=$(sed -n '1s/.*, \([0-9]*\)).*/\1/p' <(head -c 128 "$scratch/cpu.npy" | tr -d '\0'))
  apart=$(logits_apart "$scratch/cpu.npy" "$scratch/gpu.npy" "$vocab")
  if [[ $precision == high ]] && ! cmp -s "$scratch/cpu.ids" "$scratch/gpu.ids"; then
    state="failed: other tokens"
  fi
  awk -v a="$apart" -v m="$most" 'BEGIN { exit !(a != "nan" && a <= m) }' || state="failed: logits"
  if [[ $state == ok ]]; then
    echo "$apart" >>"$scratch/right-$precision"
  else
    row "$what" "$apart" "$most" - "$state"
  fi
}

# right_row MODEL PRECISION MOST_APART: how many of against_cpu were right, and the worst of them.
right_row() {
  [[ -s $scratch/right-$2 ]] || return 0
  row "$1, $2 precision, x$(wc -l <"$scratch/right-$2")" \
    "$(sort -g "$scratch/right-$2" | tail -1)" "$3" - ok
  rm "$scratch/right-$2"
}

# engine_model NAME MODEL FEW MANY: a prompt of few tokens, and one of many, at limits that leave
# tenths of the model resident; 10 is no limit. The latter in segments, too, with its keys and
# values in host memory, attended there or through slots.
engine_model() {
  local ids count least share limit shares slots
  for ids in "$few_ids" "$many_ids"; do
    [[ $ids == "$few_ids" ]] && shares=$3 || shares=$4
    count=$(wc -w <<<"$ids")
    generate cpu "$2" "$ids" none --precision high --device cpu ||
      { row "$1 on the CPU" - - - failed; continue; }
    least=$(smallest_limit "$2" "$count" 12 --precision high) ||
      { row "$1: smallest limit" - - - failed; continue; }
    for share in $shares; do
      limit=$((least + share * $(stat -Lc %s "$2") / 10))
      ((share < 10)) || limit=none
      against_cpu "$1, $count tokens, $((10 * share)) % resident" "$2" "$ids" "$limit" high 2e-3
    done
    [[ $ids == "$many_ids" ]] || continue
    for slots in 0 1 2; do
      against_cpu "$1, caches in host memory, $slots slots" "$2" "$ids" none high 2e-3 \
        --host-cache 99 --cache-slots "$slots" --segment 10
    done
    generate cpu "$2" "$ids" none --precision normal --device cpu
    against_cpu "$1, $count tokens, normal" "$2" "$ids" none normal 6e-2
  done
  right_row "$1" high 2e-3
  right_row "$1" normal 6e-2
}

engine_step() {
  local types=(f32 f16 bf16 q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q3_k q4_k q5_k q6_k) type
  $emulated && types=(q4_0 q4_k f16)
  for type in "${types[@]}"; do
    if "$sluice" synth tiny --weights "$type" -o "$scratch/model.gguf" -q; then
      engine_model "tiny $type" "$scratch/model.gguf" 0 10
    else
      row "tiny $type" - - - failed
    fi
  done
  $emulated && return
  "$sluice" synth smollm2-135m --weights q4_0 -o "$scratch/model.gguf" -q
  engine_model "135m q4_0" "$scratch/model.gguf" "0 4 10" "0 4 10"
  if [[ -e $model ]]; then
    engine_model SmolLM2 "$model" "0 4 10" "0 4 10"
  else
    row SmolLM2 - - - "skipped: no file"
  fi
}

sanitizer_step() {
  local checker type limit state tool
  $emulated && { row all - - - "skipped: no GPU"; return; }
  command -v compute-sanitizer >/dev/null || { row all - - - "skipped: not installed"; return; }
  for type in q4_k f16; do
    "$sluice" synth tiny --weights "$type" -o "$scratch/model.gguf" -q
    for checker in memcheck racecheck; do
      tool=(compute-sanitizer --tool "$checker" --error-exitcode 9)
      limit=$(smallest_limit "$scratch/model.gguf" 24 3 --precision normal) ||
        { row "$checker: smallest limit" - - - failed; continue; }
      state=ok
      within "$limit" "${tool[@]}" "$sluice" run "$scratch/model.gguf" --ids -p "$many_ids" \
        --max-tokens 3 --ignore-eos "${on_gpu[@]}" --precision normal || state="failed: status $?"
      row "$checker, tiny $type" - - - "$state"
    done
  done
}

# The most that nvidia-smi shows while process $1 lives: of the process that it runs, or of all
# beyond the $2 MiB before.
most_mebibytes() {
  local most=0 now pids
  while kill -0 "$1" 2>/dev/null; do
    pids=" $(limit_pids | tr '\n' ' ')"
    now=$(nvidia_smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits |
      awk -F ', *' -v pids="$pids" 'index(pids, " " $1 " ") { print int($2); exit }')
    ((${now:-0} <= most)) || most=$now
    now=$(nvidia_smi --query-gpu=memory.used --format=csv,noheader,nounits | head -1)
    now=$((${now//[^0-9]/} - $2))
    ((now <= most)) || most=$now
    sleep 0.05
  done
  echo "$most"
}

limit_step() {
  local shape=tinyllama-1.1b type=q8_0 tokens=128 limits=10 i least weights limit before most state
  $emulated && shape=tiny tokens=24 limits=2
  $quick && limits=3
  "$sluice" synth "$shape" --weights "$type" -o "$scratch/limit.gguf" -q
  least=$(smallest_limit "$scratch/limit.gguf" 24 "$tokens") ||
    { row "smallest limit" - - - failed; return; }
  weights=$(stat -c %s "$scratch/limit.gguf")
  for ((i = 0; i < limits; ++i)); do
    limit=$((least + (4 << 20) + weights * i / (limits - 1)))
    before=$(nvidia_smi --query-gpu=memory.used --format=csv,noheader,nounits | head -1)
    limited "$sluice" run "$scratch/limit.gguf" --ids -p "$many_ids" --max-tokens "$tokens" \
      --ignore-eos "${on_gpu[@]}" --vram "$limit" >/dev/null &
    most=$(most_mebibytes $! "$before")
    state=ok
    wait $! || state="failed: status $?"
    ((most <= (limit + (1 << 20) - 1) >> 20)) || state="failed: over the limit"
    [[ $state != ok ]] || ((most > 0)) || state="skipped: nvidia-smi shows nothing"
    row "limit $((i + 1)) of $limits" "$most MiB" "$((limit >> 20)) MiB" \
      "$(awk -v a="$most" -v b="$limit" 'BEGIN { printf "%.3f", a * 1048576 / b }')" "$state"
  done
  rm "$scratch/limit.gguf"
}
