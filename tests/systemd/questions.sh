# shellcheck shell=bash
# What the checks of `run` ask of the container. Read after container.sh.

unit=countersign.service
workload_socket=/run/countersign/workload/agent.sock
admin_socket=/run/countersign/admin/admin.sock

# is WHAT FOUND WANTED
is() {
    if [ "$2" != "$3" ]; then
        fail "$1: found '$2', wanted '$3'"
    fi
    echo "ok: $1"
}

show() { inside systemctl show --value --property "$1" "${2:-$unit}"; }
mode_and_owner() { inside stat --format '%a %U:%G' "$1"; }
# One field of the status of the agent's main process.
status_field() { inside sed -n "s/^$1:[[:space:]]*//p" "/proc/$(show MainPID)/status"; }

# What a workload's unit came to; exit codes are those of `countersign jwt fetch`.
answer_of() {
    case $(show ExecMainStatus "$1") in
        0) echo granted ;;
        1) echo refused ;;
        3) echo unavailable ;;
        *) echo "exit code $(show ExecMainStatus "$1")" ;;
    esac
}
# Runs a workload's unit to its end; its output is in /run/UNIT.out.
workload() {
    inside systemctl start "$1.service" 2>/dev/null || true
    answer=$(answer_of "$1.service")
}
# What cannot be known is not decided: the agent says that it cannot serve, or refuses.
undecided() { case $answer in refused | unavailable) echo "no token" ;; *) echo "$answer" ;; esac; }

subject_of() { token_part "$1" 2 | sed -n 's/.*"sub": *"\([^"]*\)".*/\1/p'; }
key_of() { token_part "$1" 1 | sed -n 's/.*"kid": *"\([^"]*\)".*/\1/p'; }
token_part() { # base64url to text
    local part
    part=$(inside cat "/run/$1.out" | cut -d. -f"$2" | tr -- '-_' '+/')
    while [ $((${#part} % 4)) -ne 0 ]; do part+='='; done
    base64 -d <<<"$part"
}

# drop_in NAME LINE...: lines of [Service] for the agent's unit, until `undo NAME`.
drop_in() {
    local name=$1
    shift
    inside mkdir -p "/run/systemd/system/$unit.d"
    printf '%s\n' '[Service]' "$@" | inside tee "/run/systemd/system/$unit.d/$name.conf" >/dev/null
    inside systemctl daemon-reload
}
undo() {
    inside rm "/run/systemd/system/$unit.d/$1.conf"
    inside systemctl daemon-reload
}

# Whether the agent holds the image of that program in hand: it is being attested.
is_attesting() {
    # Through the root of the container's init, without entering it: a look has to be quick.
    find "/proc/$init/root/proc/$(show MainPID)/fd" -lname "$1" 2>/dev/null | grep -q .
}
