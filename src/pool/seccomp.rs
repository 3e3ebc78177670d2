//! The system calls a child may make once its libraries are loaded: a list of what reading a document needs.
//!
//! A list of what is allowed and not of what is forbidden, because kernels grow new calls, and because on x86-64
//! every call has a second number (the x32 ABI) that a list of forbidden ones would miss. Everything else is
//! answered `EPERM` instead of killing, so that a library that merely asks (a font cache, a thread pool) goes on
//! without. Where a call is harmless only with certain arguments, those are checked.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Why the filter could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    #[error("this processor's system calls are not known to the filter")]
    Architecture,
    #[error("build the system call filter")]
    Build(#[source] seccompiler::BackendError),
    #[error("apply the system call filter")]
    Apply(#[source] seccompiler::Error),
}

/// Calls that are harmless whatever their arguments: memory, files that are open, clocks, threads, questions
/// about oneself.
const HARMLESS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fadvise64,
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Its flags are behind a pointer, so no filter can look at them: a second filter answers ENOSYS, upon which
    // the C library takes clone.
    libc::SYS_clone3,
];

/// The older names of some of these, which only x86-64 has.
#[cfg(target_arch = "x86_64")]
const HARMLESS_OLD_NAMES: &[libc::c_long] = &[
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_poll,
    libc::SYS_dup2,
    libc::SYS_time,
    libc::SYS_getrlimit,
];
#[cfg(not(target_arch = "x86_64"))]
const HARMLESS_OLD_NAMES: &[libc::c_long] = &[];

/// Every `open` flag with which a file could be changed. `O_TMPFILE` needs a writable mode, so it is covered.
const WRITING_FLAGS: libc::c_int = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;

/// Applies the filter to every thread of this process, for good.
pub fn restrict_system_calls() -> Result<(), SeccompError> {
    let allowed = compile(allowed_rules()?, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)?;
    let missing = compile(
        BTreeMap::from([(libc::SYS_clone3, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS as u32),
    )?;
    // The list of allowed calls forbids installing filters, so it comes last.
    seccompiler::apply_filter_all_threads(&missing).map_err(SeccompError::Apply)?;
    seccompiler::apply_filter_all_threads(&allowed).map_err(SeccompError::Apply)
}

fn compile(rules: Rules, otherwise: SeccompAction, listed: SeccompAction) -> Result<BpfProgram, SeccompError> {
    let architecture = std::env::consts::ARCH.try_into().map_err(|_| SeccompError::Architecture)?;
    let filter = SeccompFilter::new(rules, otherwise, listed, architecture).map_err(SeccompError::Build)?;
    filter.try_into().map_err(SeccompError::Build)
}

fn allowed_rules() -> Result<Rules, SeccompError> {
    let own_pid = u64::from(std::process::id());
    let mut rules: Rules =
        HARMLESS.iter().chain(HARMLESS_OLD_NAMES).map(|system_call| (*system_call, Vec::new())).collect();

    // Files: for reading only.
    rules.insert(libc::SYS_openat, vec![all_of([without_bits(2, WRITING_FLAGS)?])?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, vec![all_of([without_bits(1, WRITING_FLAGS)?])?]);
    let harmless_fcntl = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_DUPFD, libc::F_DUPFD_CLOEXEC];
    rules.insert(libc::SYS_fcntl, any_value_of(1, &harmless_fcntl)?);

    // The socket that is there already: no other address.
    rules.insert(libc::SYS_sendto, vec![all_of([is_zero_wide(4)?])?]);

    // Memory: never executable; every library is loaded by now.
    rules.insert(libc::SYS_mmap, vec![all_of([without_bits(2, libc::PROT_EXEC)?])?]);
    rules.insert(libc::SYS_mprotect, vec![all_of([without_bits(2, libc::PROT_EXEC)?])?]);

    // Threads are allowed, processes are not.
    rules.insert(libc::SYS_clone, vec![all_of([with_bits(0, libc::CLONE_THREAD)?])?]);

    // Signals: to oneself only (abort needs them).
    rules.insert(libc::SYS_kill, vec![all_of([equals(0, own_pid)?])?]);
    rules.insert(libc::SYS_tgkill, vec![all_of([equals(0, own_pid)?])?]);

    // Limits: asking for one's own only.
    rules.insert(libc::SYS_prlimit64, vec![all_of([equals(0, 0)?, is_zero_wide(2)?])?]);
    Ok(rules)
}

fn all_of<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, SeccompError> {
    SeccompRule::new(conditions.into()).map_err(SeccompError::Build)
}

fn any_value_of(argument: u8, values: &[libc::c_int]) -> Result<Vec<SeccompRule>, SeccompError> {
    let mut rules = Vec::with_capacity(values.len());
    for value in values {
        rules.push(all_of([equals(argument, *value as u64)?])?);
    }
    Ok(rules)
}

fn equals(argument: u8, value: u64) -> Result<SeccompCondition, SeccompError> {
    condition(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// For pointers, which are 64 bits wide.
fn is_zero_wide(argument: u8) -> Result<SeccompCondition, SeccompError> {
    condition(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
}

fn without_bits(argument: u8, bits: libc::c_int) -> Result<SeccompCondition, SeccompError> {
    condition(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits as u64), 0)
}

fn with_bits(argument: u8, bits: libc::c_int) -> Result<SeccompCondition, SeccompError> {
    condition(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits as u64), bits as u64)
}

fn condition(
    argument: u8,
    length: SeccompCmpArgLen,
    comparison: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, SeccompError> {
    SeccompCondition::new(argument, length, comparison, value).map_err(SeccompError::Build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_document_must_not_do_is_not_on_the_list() {
        let rules = allowed_rules().unwrap();
        let forbidden = [
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_accept4,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_perf_event_open,
            libc::SYS_kexec_load,
            libc::SYS_open_by_handle_at,
            libc::SYS_openat2,
            libc::SYS_memfd_create,
            libc::SYS_pidfd_send_signal,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_tkill,
            libc::SYS_prctl,
            libc::SYS_seccomp,
            libc::SYS_ioctl,
            libc::SYS_unlinkat,
            libc::SYS_renameat2,
            libc::SYS_setrlimit,
        ];
        for system_call in forbidden {
            assert!(!rules.contains_key(&system_call), "system call {system_call} is allowed");
        }
    }

    #[test]
    fn the_filter_compiles_for_every_processor_we_ship_for() {
        for architecture in ["x86_64", "aarch64"] {
            let filter = SeccompFilter::new(
                allowed_rules().unwrap(),
                SeccompAction::Errno(libc::EPERM as u32),
                SeccompAction::Allow,
                architecture.try_into().unwrap(),
            )
            .unwrap();
            assert!(!BpfProgram::try_from(filter).unwrap().is_empty());
        }
    }
}
