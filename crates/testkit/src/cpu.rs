//! How much processor time processes took.

use std::fs;
use std::time::Duration;

/// User and system time of a process and its living children, to the nanosecond; what ended threads and children took is left out, so
/// take differences while nothing ends. Nothing for a process that is gone.
pub fn cpu_time(process: u32) -> Duration {
    let children = children(process).into_iter().map(threads_time).sum::<Duration>();
    threads_time(process) + children
}

fn threads_time(process: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Duration::ZERO };
    let time = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    threads.flatten().filter_map(time).sum()
}

fn children(process: u32) -> Vec<u32> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id: &u32| parent(*id) == Some(process)).collect()
}

/// The fields of `stat` behind the command's name, which may hold anything, start with the state and the parent.
fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn grows_with_work_and_counts_children() {
        let own = std::process::id();
        let before = cpu_time(own);
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo; read line";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let of_child = cpu_time(child.id());
        assert!(of_child > Duration::from_millis(1), "{of_child:?}");
        assert!(cpu_time(own) >= before + of_child, "a living child counts");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(cpu_time(child.id()), Duration::ZERO);
    }
}
