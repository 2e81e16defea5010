//! One name, several addresses.
//!
//! Owns the rule which addresses of a name a server may do without.

use log::info;

use crate::values::endpoint::Address;
use crate::values::error::StartError;

/// Binds every address that a name stands for, and returns what `bind` made of each.
///
/// It skips an address that this machine does not have if another address of the name binds:
/// `localhost` stands for `::1` too in many a hosts file, whether the machine has IPv6 or not. A
/// name that stands for one address gets no such leave, because the user asked for that one.
///
/// # Errors
///
/// The first error of another kind, or the first of all if no address binds.
pub fn bind_each<T>(
    addresses: &[Address],
    mut bind: impl FnMut(&Address) -> Result<T, StartError>,
) -> Result<Vec<T>, StartError> {
    let (mut bound, mut absent) = (Vec::new(), Vec::new());
    for address in addresses {
        match bind(address) {
            Ok(made) => bound.push(made),
            Err(error) if is_absent(&error) => absent.push(error),
            Err(error) => return Err(error),
        }
    }
    if bound.is_empty() {
        return absent.into_iter().next().map_or(Ok(bound), Err);
    }
    for error in absent {
        info!("{error}; skipped, because the name has another address");
    }
    Ok(bound)
}

/// Whether the machine does not have the address, or not its family.
fn is_absent(error: &StartError) -> bool {
    matches!(error.code(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn bind_with(errors: &[i32]) -> Result<Vec<usize>, StartError> {
        let addresses = vec![Address::Tcp(([127, 0, 0, 1], 0).into()); errors.len()];
        let mut index = 0..errors.len();
        bind_each(&addresses, |address| {
            let index = index.next().unwrap();
            match errors[index] {
                0 => Ok(index),
                code => Err(StartError::new(
                    format!("listen on {address}"),
                    io::Error::from_raw_os_error(code),
                )),
            }
        })
    }

    #[test]
    fn an_address_that_is_not_here_is_skipped_beside_one_that_is() {
        assert_eq!(bind_with(&[libc::EADDRNOTAVAIL, 0]).unwrap(), [1]);
        assert_eq!(bind_with(&[0, libc::EAFNOSUPPORT, 0]).unwrap(), [0, 2]);
        assert_eq!(bind_with(&[]).unwrap(), [0; 0]);
    }

    #[test]
    fn nothing_else_is_skipped() {
        let code = |errors: &[i32]| bind_with(errors).unwrap_err().code();
        assert_eq!(code(&[libc::EADDRINUSE, 0]), Some(libc::EADDRINUSE));
        assert_eq!(code(&[0, libc::EACCES]), Some(libc::EACCES));
        assert_eq!(code(&[libc::EADDRNOTAVAIL]), Some(libc::EADDRNOTAVAIL));
        assert_eq!(
            code(&[libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL]),
            Some(libc::EAFNOSUPPORT),
            "the first of them"
        );
    }
}
