//! Process groups and their collectives.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::ptr;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use super::store::{c_string, millis};
use super::{CommError, Store, ffi, nccl};

/// What carries the collectives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// TCP; CPU tensors, and CUDA tensors by way of the host.
    Gloo,
    /// NVIDIA's library; CUDA tensors, one rank a GPU.
    Nccl,
}

impl Backend {
    /// As it is written in flags and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gloo => "gloo",
            Self::Nccl => "nccl",
        }
    }
}

/// One rank's way into a group.
#[derive(Debug, Clone, Copy)]
pub struct Seat<'a> {
    /// This process.
    pub rank: u32,
    /// How many there are.
    pub size: u32,
    /// Bounds joining and each later collective.
    pub timeout: Duration,
    /// Where this rank's tensors live.
    pub device: Device,
    /// The store's host and port: the interface that leads there is the one that Gloo uses …
    pub peer: (&'a str, u16),
    /// … unless interfaces are named here, comma-separated.
    pub interfaces: &'a str,
}

/// All ranks of an attempt. Every rank must make the same calls in the same order.
#[derive(Debug)]
pub struct ProcessGroup {
    raw: *mut ffi::RawGroup,
    rank: u32,
    size: u32,
    device: Device,
}

impl ProcessGroup {
    /// Joins the group over Gloo.
    ///
    /// # Errors
    /// When a rank does not come in time.
    pub fn gloo(store: &Store, seat: Seat<'_>) -> Result<Self, CommError> {
        let during = "joining the process group over Gloo";
        let interfaces = c_string(seat.interfaces, during)?;
        let address = c_string(&local_address(seat.peer).to_string(), during)?;
        let mut raw = ptr::null_mut();
        // SAFETY: the store is live; the strings outlive the call; `raw` is written only on success.
        let code = unsafe {
            ffi::yard_group_gloo(
                store.raw(),
                index(seat.rank),
                index(seat.size),
                millis(seat.timeout),
                interfaces.as_ptr(),
                address.as_ptr(),
                i32::from(seat.device.is_cuda()),
                &raw mut raw,
            )
        };
        ffi::check(code, during)?;
        Ok(Self { raw, rank: seat.rank, size: seat.size, device: seat.device })
    }

    /// Joins the group over NCCL; the seat's device is this rank's own GPU.
    ///
    /// # Errors
    /// When CUDA's libraries cannot be loaded, or a rank does not come in time.
    pub fn nccl(store: &Store, seat: Seat<'_>) -> Result<Self, CommError> {
        let during = "joining the process group over NCCL";
        let (rank, size) = (index(seat.rank), index(seat.size));
        let backend = nccl::backend(store, rank, size, millis(seat.timeout))?;
        let mut raw = ptr::null_mut();
        // SAFETY: store and backend are live; the bridge takes the backend over; `raw` is written
        // only on success.
        let code = unsafe { ffi::yard_group_nccl(store.raw(), rank, size, backend, &raw mut raw) };
        ffi::check(code, during)?;
        Ok(Self { raw, rank: seat.rank, size: seat.size, device: seat.device })
    }

    /// This process's rank.
    pub fn rank(&self) -> u32 {
        self.rank
    }

    /// How many ranks there are.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Adds `tensor` over all ranks, in place.
    ///
    /// # Errors
    /// When a peer is lost or does not answer in time.
    pub fn all_reduce_sum(&self, tensor: &mut Tensor) -> Result<(), CommError> {
        // SAFETY: group and tensor are live; the call returns after the collective has finished.
        ffi::check(
            unsafe { ffi::yard_group_all_reduce_sum(self.raw, ffi::raw(tensor)) },
            "all-reduce",
        )
    }

    /// Gives every rank `root`'s values, in place.
    ///
    /// # Errors
    /// When a peer is lost or does not answer in time.
    pub fn broadcast(&self, tensor: &mut Tensor, root: u32) -> Result<(), CommError> {
        // SAFETY: as for `all_reduce_sum`.
        ffi::check(
            unsafe { ffi::yard_group_broadcast(self.raw, ffi::raw(tensor), index(root)) },
            "broadcast",
        )
    }

    /// Rank 0's numbers, on every rank.
    ///
    /// # Errors
    /// When a peer is lost or does not answer in time.
    pub fn agree<const N: usize>(&self, mine: [i64; N]) -> Result<[i64; N], CommError> {
        let torch = |e: tch::TchError| CommError::from_text("broadcast", &e.to_string());
        let mut tensor =
            Tensor::f_from_slice(&mine).and_then(|t| t.f_to_device(self.device)).map_err(torch)?;
        self.broadcast(&mut tensor, 0)?;
        let mut all = [0; N];
        tensor.f_to_device(Device::Cpu).and_then(|t| t.f_copy_data(&mut all, N)).map_err(torch)?;
        Ok(all)
    }

    /// The sum over all ranks of a few numbers.
    ///
    /// # Errors
    /// When a peer is lost or does not answer in time.
    pub fn sum<const N: usize>(&self, mine: [f64; N]) -> Result<[f64; N], CommError> {
        let torch = |e: tch::TchError| CommError::from_text("all-reduce", &e.to_string());
        let mut tensor =
            Tensor::f_from_slice(&mine).and_then(|t| t.f_to_device(self.device)).map_err(torch)?;
        self.all_reduce_sum(&mut tensor)?;
        let mut all = [0.0; N];
        let host = tensor
            .f_to_device(Device::Cpu)
            .and_then(|t| t.f_to_kind(Kind::Double))
            .map_err(torch)?;
        host.f_copy_data(&mut all, N).map_err(torch)?;
        Ok(all)
    }

    /// Waits until every rank is here.
    ///
    /// # Errors
    /// When a peer is lost or does not answer in time.
    pub fn barrier(&self) -> Result<(), CommError> {
        // SAFETY: the group is live.
        ffi::check(unsafe { ffi::yard_group_barrier(self.raw) }, "barrier")
    }

    /// Breaks off what is under way, so that no rank waits for one that will not come.
    ///
    /// # Errors
    /// When the backend refuses.
    pub fn abort(&self) -> Result<(), CommError> {
        // SAFETY: the group is live.
        ffi::check(unsafe { ffi::yard_group_abort(self.raw) }, "abort")
    }

    pub(super) fn raw(&self) -> *mut ffi::RawGroup {
        self.raw
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // SAFETY: made by the bridge, freed once; c10d's reducer holds a reference of its own.
        unsafe { ffi::yard_group_free(self.raw) }
    }
}

fn index(rank: u32) -> i32 {
    i32::try_from(rank).unwrap_or(i32::MAX)
}

/// The address of this machine that packets to `peer` would leave from; nothing is sent.
fn local_address((host, port): (&str, u16)) -> IpAddr {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let routed = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((host, port.max(1))).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    routed().unwrap_or(loopback)
}

#[cfg(test)]
mod tests {
    use super::local_address;

    #[test]
    fn the_way_to_loopback_is_loopback() {
        assert!(local_address(("127.0.0.1", 29500)).is_loopback());
        assert!(local_address(("no such host", 29500)).is_loopback());
    }
}
