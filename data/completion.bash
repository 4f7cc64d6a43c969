# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for vmferry. tests/cli/check-options compares its options with --help and the manual.

_vmferry_options() {
    echo "--help --config= --set="
    case $1 in
    import)
        echo "--to= --vm= --password-file= --shut-down --format= --name= --uuid= --cpus= --memory= --cpu-model= --machine= --firmware= --os= --network=
            --mac= --pool= --disk= --disk-format= --preallocate --convert --no-convert --root= --v2v-option= --replace
            --dry-run --work= --keep-work --resume= --verify --receipt= --progress= --json"
        ;;
    copy) echo "--format= --source-format= --disk= --work= --replace --rate= --verify --receipt= --password-file= --progress= --json" ;;
    verify) echo "--format=" ;;
    control) echo "--disk=" ;;
    list)
        echo "--name= --os= --power= --datacenter= --cluster= --host= --folder= --tag= --watch --password-file= --json"
        ;;
    show) echo "--vm= --json --format= --password-file=" ;;
    doctor) echo "--fix --forget-thumbprint --remove-snapshot= --password-file= --json" ;;
    clean) echo "--work= --list" ;;
    esac
}

# What may follow OPTION, for WORD.
_vmferry_values() {
    case $1 in
    --to) compgen -d -- "$2"; compgen -W 'qemu:///system qemu:///session' -- "$2" ;;
    --work | --resume) compgen -d -- "$2" ;;
    --config | --receipt | --password-file) compgen -f -- "$2" ;;
    --format) compgen -W 'raw qcow2 vmdk vhd vhdx vdi' -- "$2" ;;
    --disk-format) compgen -W 'qcow2 raw' -- "$2" ;;
    --progress) compgen -W 'auto terminal lines json none' -- "$2" ;;
    --cpu-model) compgen -W 'host-model host-passthrough' -- "$2" ;;
    --power) compgen -W 'on off suspended template' -- "$2" ;;
    --firmware) compgen -W 'bios uefi' -- "$2" ;;
    --machine) compgen -W 'q35 pc' -- "$2" ;;
    --pool) compgen -W "$(virsh --quiet pool-list --name 2> /dev/null)" -- "$2" ;;
    esac
}

_vmferry() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'import copy verify control list show doctor clean --help --version' -- "$word")
        return
    fi
    # readline splits words at "=": "--to", "=", "value"
    if [ "$word" = = ]; then
        word=
    elif [ "$before" = = ]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    case $before,$word in
    --*,-*) ;;
    --*)
        mapfile -t COMPREPLY < <(_vmferry_values "$before" "$word")
        if [ ${#COMPREPLY[@]} -gt 0 ]; then compopt -o filenames 2> /dev/null; return; fi
        ;;
    esac
    case $word in
    -*)
        mapfile -t COMPREPLY < <(compgen -W "$(_vmferry_options "$command")" -- "$word")
        case ${COMPREPLY[*]} in *=) compopt -o nospace 2> /dev/null ;; esac
        ;;
    *)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        compopt -o filenames 2> /dev/null
        ;;
    esac
}

complete -F _vmferry vmferry
