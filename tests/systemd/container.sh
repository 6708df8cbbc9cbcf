# shellcheck shell=bash disable=SC2016
# A container that systemd boots, for `run`: its root is an overlay over this machine's root.
# Nothing here outlives the shell that reads it.

work='' nspawn='' init='' cgroups=()

fail() {
    echo "FAILED: $*" >&2
    if [ -n "$init" ]; then
        inside journalctl --no-pager --lines 60 >&2 || true
    fi
    exit 1
}

# Cannot run here: a failure where everything is expected to run.
cannot() {
    echo "cannot run: $*" >&2
    [ -z "${CI:-}" ] || exit 1
    exit 77
}

container_needs() {
    [ "$(id -u)" -eq 0 ] || cannot "it boots a container, which takes root"
    command -v systemd-nspawn >/dev/null && return
    # Nobody's own machine is given packages by a test.
    [ -n "${CI:-}" ] || cannot "systemd-nspawn is missing; install systemd-container"
    { apt-get update -qq && apt-get install --yes --no-install-recommends systemd-container; } >/dev/null \
        || cannot "systemd-nspawn is missing, and apt-get did not bring systemd-container"
}

# container_start FILE...: boots; the files are found below /opt/test.
container_start() {
    work=$(mktemp -d)
    trap container_stop EXIT
    trap 'exit 130' INT TERM
    mkdir "$work/mount" "$work/files"
    cp -r "$@" "$work/files/"
    # A cgroup of its own in each hierarchy that systemd uses, so that runs do not meet in one.
    mapfile -t cgroups < <(own_cgroups)
    mkdir "${cgroups[@]}" || cannot "it makes cgroups of its own, and may not"
    # In a pid namespace, and told when this shell dies: nothing outlives it, however it ends.
    # systemd's first boot is made as short as the checks allow: no login, no network, no timers.
    setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash -euc '
        for cgroup in "${@:2}"; do echo 0 >"$cgroup/cgroup.procs"; done
        mount -t tmpfs -o mode=0755 tmpfs "$1/mount"
        mkdir "$1/mount/upper" "$1/mount/overlay" "$1/mount/root"
        mount -t overlay overlay -o "lowerdir=/,upperdir=$1/mount/upper,workdir=$1/mount/overlay" "$1/mount/root"
        mkdir -p "$1/mount/root/opt/test"
        cp -r "$1/files/." "$1/mount/root/opt/test/"
        install -m 0644 "$1/mount/root/opt/test/units/suite.target" "$1/mount/root/etc/systemd/system/"
        ln -s /dev/null "$1/mount/root/etc/systemd/system/timers.target"
        exec systemd-nspawn --quiet --directory "$1/mount/root" --machine "countersign-${1##*.}" --register=no --keep-unit \
            --private-network --capability=CAP_CHECKPOINT_RESTORE --boot -- --unit=suite.target
    ' _ "$work" "${cgroups[@]}" </dev/null >"$work/console" 2>&1 &
    nspawn=$!
    within 60 booted || { cat "$work/console" >&2; fail "systemd did not boot"; }
}

own_cgroups() {
    local hierarchy controllers path mounted
    while IFS=: read -r hierarchy controllers path; do
        case $hierarchy:$controllers in
            0:) mounted=$(findmnt --noheadings --raw --first-only --types cgroup2 --output TARGET) ;;
            *:name=systemd) mounted=$(findmnt --noheadings --raw --first-only --types cgroup --options name=systemd --output TARGET) ;;
            *) continue ;;
        esac || continue
        echo "$mounted${path%/}/countersign-suite-$$"
    done </proc/self/cgroup
}

# unshare has one child, nspawn; and that one has one, the init of the container.
booted() {
    kill -0 "$nspawn" || return 1
    init=$(child_of "$(child_of "$nspawn")")
    [ -n "$init" ] && inside systemctl is-active --quiet suite.target 2>/dev/null
}

child_of() {
    local children=
    [ -z "$1" ] || read -r children _ <"/proc/$1/task/$1/children" || true
    echo "$children"
} 2>/dev/null

inside() {
    nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup --root \
        env --ignore-environment --chdir=/ PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"
}

# within SECONDS COMMAND...: until it succeeds; fails when the time is over.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        # Nobody writes to this pipe: reading it is waiting a moment.
        read -r -t 0.1 <> <(:) || true
    done
}

container_stop() {
    local result=$?
    trap - EXIT
    if [ -n "$nspawn" ]; then
        # SIGRTMIN+3 asks systemd to halt (systemd(1)).
        if [ -n "$init" ]; then kill -s RTMIN+3 "$init" 2>/dev/null || true; fi
        within 15 gone || kill -KILL "$nspawn" 2>/dev/null || true
        wait "$nspawn" 2>/dev/null || true
    fi
    for cgroup in "${cgroups[@]}"; do within 5 emptied "$cgroup" || true; done
    rm -rf "$work"
    exit "$result"
}

# From the leaves up; fails while a process is left.
emptied() { find "$1" -depth -type d -exec rmdir {} + 2>/dev/null; }

gone() { ! kill -0 "$nspawn" 2>/dev/null; }
