package org.reactorvfio.dma;

import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.DmaInfo.IovaRange;
import org.reactorvfio.operations.DmaMapping;
import reactor.core.publisher.Mono;

/**
 * What is mapped in an address space, and which addresses are free there: one for all devices in it. Memory lives until it is freed
 * or the last device leaves, whoever allocated it.
 */
final class Mappings implements AddressSpace.Part {
  private final List<IovaRange> allowed;

  // Guards the fields below and every use of the allocator.
  private final Object lock = new Object();
  private final Set<DmaSpace> members = new LinkedHashSet<>();
  private final Set<Lease> leases = new LinkedHashSet<>();
  private @Nullable IovaAllocator addresses;

  /** How many have joined so far: each may narrow what can be mapped. */
  private int joined;

  private int known;

  Mappings(List<IovaRange> allowed) {
    this.allowed = allowed;
  }

  /** The mappings of an address space, or those of a device that is in none with others. */
  static Mappings of(@Nullable AddressSpace space) {
    return space == null
        ? new Mappings(List.of())
        : space.part(Mappings.class, () -> new Mappings(space.allowedRanges()));
  }

  void join(DmaSpace member) {
    synchronized (lock) {
      members.add(member);
      joined++;
    }
  }

  /** Leaves without a look back: the device is elsewhere. */
  void abandon(DmaSpace member) {
    synchronized (lock) {
      members.remove(member);
    }
  }

  /**
   * Leaves. Returns the leases that the last one has to end before it has left; others leave at once, and what they mapped stays.
   */
  List<Lease> leave(DmaSpace member) {
    synchronized (lock) {
      if (members.size() > 1 || !members.contains(member)) {
        members.remove(member);
        return List.of();
      }
      return List.copyOf(leases);
    }
  }

  /** The free addresses, asked for through a member when that has become necessary. */
  Mono<IovaAllocator> addresses(DmaSpace member) {
    return Mono.defer(() -> {
      int seen;
      synchronized (lock) {
        if (addresses != null && known == joined) {
          return Mono.just(addresses);
        }
        seen = joined;
      }
      return member.info().map(info -> {
        synchronized (lock) {
          if (addresses == null) {
            addresses = new IovaAllocator(info);
            if (!allowed.isEmpty()) {
              addresses.restrict(allowed);
            }
          } else {
            addresses.restrict(info.usableRanges());
          }
          known = seen;
          return addresses;
        }
      });
    });
  }

  /** Does something that needs the addresses and the leases not to change meanwhile. */
  <T> T exclusively(Supplier<T> work) {
    synchronized (lock) {
      return work.get();
    }
  }

  /** Keeps a lease; with the lock held. */
  void add(Lease lease) {
    leases.add(lease);
  }

  /** Forgets a lease and frees its addresses. */
  void remove(Lease lease, IovaAllocator from) {
    synchronized (lock) {
      if (leases.remove(lease)) {
        from.free(lease.mapping().iova(), lease.mapping().size());
      }
    }
  }

  @Nullable Lease find(DmaMapping mapping) {
    synchronized (lock) {
      return leases.stream()
          .filter(lease -> lease.mapping() == mapping)
          .findFirst()
          .orElse(null);
    }
  }

  /** Takes memory back from all devices, through whichever is there. If none is, there is no address space any more. */
  Mono<Void> unmap(DmaMapping mapping) {
    return Mono.defer(() -> {
      synchronized (lock) {
        return unmap(mapping, members.stream().filter(DmaSpace::isHere).toList().iterator());
      }
    });
  }

  private static Mono<Void> unmap(DmaMapping mapping, Iterator<DmaSpace> members) {
    return !members.hasNext()
        ? Mono.empty()
        : members
            .next()
            .unmapNow(mapping)
            .onErrorResume(DeviceClosedException.class, closed -> unmap(mapping, members))
            .onErrorResume(
                e -> e instanceof DeviceLostException || e instanceof DeviceBusyException,
                e -> members.hasNext() ? unmap(mapping, members) : Mono.error(e));
  }

  @Override
  public void vacated() {
    List<Lease> last;
    synchronized (lock) {
      members.clear();
      addresses = null;
      last = List.copyOf(leases);
    }
    last.forEach(lease -> lease.end().subscribe(nothing -> {}, failure -> {}));
  }
}
