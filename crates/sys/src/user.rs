//! Whose a file or a process is.

use nix::unistd::Uid;

/// Whether a user id is this process's, or root's, who may do everything anyway.
pub fn is_own_user(uid: u32) -> bool {
    let uid = Uid::from_raw(uid);
    uid == Uid::effective() || uid.is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_user_and_root_are_own() {
        let own = Uid::effective().as_raw();
        assert!(is_own_user(own) && is_own_user(0) && !is_own_user(own.wrapping_add(1)));
    }
}
