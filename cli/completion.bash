# SPDX-License-Identifier: Apache-2.0
# bash completion of `coffer`; installed as share/bash-completion/completions/coffer, or: . cli/completion.bash

# The enclaves in the background.
_coffer_names() {
	local dir=${COFFER_RUN_DIR:-${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/coffer}}

	(cd "${dir:-$HOME/.local/share/coffer/run}" 2>/dev/null && printf '%s ' *)
}

_coffer() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command= i=1
	local commands="init new copy import build run start exec ps logs stop kill restart rm top measure seal open mount cp volume broker secret policy audit identity admin approve approvals verify evidence reference collateral token tls spdm tunnel doctor syscalls version help"
	local owner="--anchor --tpm-key --broker --broker-ca --broker-token --broker-dir --identity --passphrase-file --client-cert --client-key"

	while ((i < COMP_CWORD)); do
		case ${COMP_WORDS[i]} in
		-C) ((i++)) ;;
		-*) ;;
		*) command=${COMP_WORDS[i]}; break ;;
		esac
		((i++))
	done
	COMPREPLY=()
	case $previous in
	-C | --broker-dir | --dir | --store) mapfile -t COMPREPLY < <(compgen -d -- "$current"); return ;;
	--key-file | --broker-ca | --broker-token | --insecure-accept-simulated) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
	--restart) mapfile -t COMPREPLY < <(compgen -W "no on-failure always" -- "$current"); return ;;
	--stream) mapfile -t COMPREPLY < <(compgen -W "program stdout stderr enclave" -- "$current"); return ;;
	--debug-log) mapfile -t COMPREPLY < <(compgen -W "0 1 2 3" -- "$current"); return ;;
	--host-arguments) mapfile -t COMPREPLY < <(compgen -W "true false" -- "$current"); return ;;
	--measurement) mapfile -t COMPREPLY < <(compgen -W "$(coffer measure 2>/dev/null)" -- "$current"); return ;;
	esac
	local words= files=1
	case $command in
	'') words="$commands -C --help --version" files=0 ;;
	help) words=$commands files=0 ;;
	init | new) words="--host-arguments" ;;
	copy) words="--to --from-package --with-recommends --verbose --quiet" ;;
	import) words="--platform --tag --force --max-size --max-files --quiet" ;;
	build) words="--verbose --quiet --force --json --encrypt --reference --reference-key --key-file $owner" ;;
	measure) words="--json --explain" files=0 ;;
	doctor | version) words="--json" files=0 ;;
	syscalls) words="--check --state --class --json --markdown" ;;
	start) words="--name --restart --log-size --log-files --volume --env --publish --workdir --broker --connect --stop-timeout --tpm --debug-log --debug-missing --debug-strace --strace --trace --debug-ring" ;;
	exec) words="--interactive --tty --env --workdir --user $(_coffer_names)" files=0 ;;
	ps) words="--all --json" files=0 ;;
	logs) words="--follow --last --since --stream --json --plain $(_coffer_names)" files=0 ;;
	stop | restart | kill | rm) words="--time --signal --force $(_coffer_names)" files=0 ;;
	run) words="--volume --env --publish --workdir --interactive --tty --broker --connect --stop-timeout --tpm --debug-log --debug-missing --debug-strace --strace --trace --debug-ring" ;;
	top) words="--batch --json --delay --rounds $(_coffer_names)" files=0 ;;
	cp) words="--recursive --keep-owner --key-file --quiet $owner" ;;
	seal) words="--force --resume --keep-owner --key-file --quiet $owner" ;;
	open) words="--force --resume --keep-owner --key-file --quiet $owner" ;;
	mount) words="--foreground --keep-owner --key-file -o $owner" ;;
	volume) words="create info list cat fsck scrub diff snapshot rekey grow shrink finish anchor --other-key-file --new-key-file --reencrypt --repair --size --force --json --key-file $owner" ;;
	spdm) words="responder requester --attest --endorse --key --heartbeat --measurement --policy --any-measurement --collateral --tpm-root --session --at --insecure-simulated-root --insecure-accept-debug --insecure-simulate --json --timeout --quiet" ;;
	tls) words="client server certificate --attest --endorse --token --certificate --key --measurement --policy --any-measurement --collateral --tpm-root --token-keys --peer-token --session --renew --answer --at --ca --name --insecure-simulated-root --insecure-accept-debug --insecure-any-server --insecure-simulate --json --timeout --quiet --output --nonce --days --show" ;;
	tunnel) words="run reload status exec import --route --name --check --admin --connections --json" ;;
	token) words="verify --jwks --at --json --broker --broker-ca --broker-dir" ;;
	verify) words="--collateral --event-log --policy --at --report-data --nonce --reference --reference-key --reference-seen --tpm-root --tpm-crl --strict --json --insecure-simulated-root" ;;
	evidence) words="show bundle collect --report-data --from --privlevel --collateral --event-log --at --json --output" ;;
	reference) words="keygen create add revoke renew show verify import launch --corim-key --insecure-partial --firmware --vcpus --vcpu-type --features --vmm --kernel --initrd --cmdline --event-log --two-pass --add --key --from-key --name --tee --note --reason --not-before --not-after --days --at --seen --json" ;;
	collateral)
		words="fetch show import export serve --store --json --within --at --renew --item --all --early --product --pcs --kds --hygon --ca"
		words+=" --timeout --patience --issuer-chain --output --listen --offline --certificate --key"
		;;
	identity) words="create show whoami --algorithm --passphrase --json $owner" ;;
	admin) words="add list role remove --role --resources --key --certificate --certificate-name --json $owner" ;;
	approve) words="--for --resource --measurement $owner" ;;
	approvals) words="list --json $owner" ;;
	audit) words="list show head prove export verify witness --last --all --from --since --until --event --outcome --resource --peer --key --head --witness --quorum --cosigned --output --json --key-file --name --state --print-key $owner" ;;
	policy) words="allow deny list log check put show history rollback withdraw --name --version --approved-by --resource --collateral --at --caller --owner-allows --reference --reference-key --measurement --note --json $owner" ;;
	secret) words="put get generate list show public rotate set disable enable destroy delete --file --kind --use --bytes --encoding --version --output --format --uses --uses-total --keep --keep-for --not-before --not-after --lifetime --publish --current --reset-uses --note --all --force --json $owner" ;;
	broker)
		case " ${COMP_WORDS[*]} " in
		*" serve "*) words="--dir --listen --insecure-accept-simulated --insecure-accept-debug --require-anchor --collateral --policy --references --tpm-roots" ;;
		*" prepare "*) words="--dir" ;;
		*" status "*) words="--json $owner" ;;
		*" rekey-master "*) words="--new-key --master-key --add --dir --config --passphrase-fd --new-passphrase-fd --pin-fd --new-pin-fd" ;;
		*" restore "*) words="--dir --audit --database --master-key --backup-passphrase-fd" ;;
		*) words="serve prepare status rekey-master backup restore simulated-root" ;;
		esac
		files=0
		;;
	esac
	[[ -z $command ]] || words+=" --help"
	if [[ $current == -* || $files == 0 ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
	else
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current"; compgen -f -- "$current")
	fi
}
complete -o filenames -F _coffer coffer
