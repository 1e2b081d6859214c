package org.reactorvfio.soak;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.DmaInfo;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.Irqs;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/**
 * A device's interrupts as vfio-pci keeps them, on real eventfds, with a {@link Ledger} for each arming of each vector. It has
 * nothing else but a configuration space that tells whether messages are on, which a reset turns off.
 */
final class SoakDevice implements VfioOperations {
  private static final int MSI_CAPABILITY = 0x40;
  private static final int MSIX_CAPABILITY = 0x50;
  private static final int KINDS = 3;

  private final String name;
  private final IrqInfo[] infos;
  private final boolean unmaskedByEventFd;
  private final Slot[][] slots = new Slot[KINDS][];
  private final int[] allocated = new int[KINDS];
  private final AtomicLong written;

  /** Whether the device's own enable bit is on; a reset turns it off. */
  private volatile boolean sending = true;

  /** Vectors below this are signalled when their ledger is opened, the others as soon as they are armed. */
  volatile int gatedBelow;

  // The line; guarded by its slot.
  private boolean masked;
  private int unmaskBy = -1;
  private final TestEventFds.Adder forLine = new TestEventFds.Adder();

  private final TestEventFds.Adder forLoopback = new TestEventFds.Adder();

  /** Every ledger, until its reference is closed. */
  private final Queue<Ledger> ledgers = new ConcurrentLinkedQueue<>();

  /** What is behind a vector. */
  private static final class Slot {
    private int fd = -1;
    private volatile @Nullable Ledger ledger;
  }

  /**
   * Creates a device.
   *
   * @param vectors how many MSI-X vectors
   * @param resizable whether they may be more while enabled
   * @param unmaskedByEventFd whether the line can be unmasked that way
   * @param written counts all signals
   */
  SoakDevice(
      String name, int vectors, boolean resizable, boolean unmaskedByEventFd, AtomicLong written) {
    this.name = name;
    this.unmaskedByEventFd = unmaskedByEventFd;
    this.written = written;
    int fixed = IrqInfo.FLAG_EVENTFD | IrqInfo.FLAG_NORESIZE;
    infos = new IrqInfo[] {
      new IrqInfo(
          Irqs.INTX, IrqInfo.FLAG_EVENTFD | IrqInfo.FLAG_MASKABLE | IrqInfo.FLAG_AUTOMASKED, 1),
      new IrqInfo(Irqs.MSI, fixed, Math.min(4, vectors)),
      new IrqInfo(Irqs.MSIX, resizable ? IrqInfo.FLAG_EVENTFD : fixed, vectors)
    };
    for (int index = 0; index < KINDS; index++) {
      slots[index] = new Slot[infos[index].count()];
      for (int i = 0; i < slots[index].length; i++) {
        slots[index][i] = new Slot();
      }
    }
  }

  // ---- what the device does

  /** Signals a vector some times with one write. Returns false if nobody can hear it; then it was not. */
  boolean signal(TestEventFds.Adder adder, int index, int vector, long count) {
    Slot slot = slots[index][vector];
    synchronized (slot) {
      Ledger ledger = slot.ledger;
      if (slot.fd < 0 || !sending || !ledger.open) {
        return false;
      }
      write(adder, slot, ledger, count);
      return true;
    }
  }

  /** How many signals were written for certain: none of them is only noted so far. */
  long written(Ledger ledger) {
    synchronized (slots[ledger.index][ledger.vector]) {
      return ledger.written.get();
    }
  }

  private void write(TestEventFds.Adder adder, Slot slot, Ledger ledger, long count) {
    ledger.written.addAndGet(count);
    written.addAndGet(count);
    adder.add(slot.fd, count);
  }

  /** Asserts the line and lets go at once: it fires, unless it is masked. Returns whether it did. */
  boolean pulse() {
    Slot slot = slots[Irqs.INTX][0];
    synchronized (slot) {
      if (masked && unmaskBy >= 0 && forLine.take(unmaskBy) > 0) {
        masked = false;
      }
      Ledger ledger = slot.ledger;
      if (slot.fd < 0 || masked || !ledger.open) {
        return false;
      }
      masked = true;
      write(forLine, slot, ledger, 1);
      return true;
    }
  }

  /** Turns messages off, as a reset does that the kernel does not make up for, or that it forgets them itself at. */
  synchronized void reset(boolean kernelForgets) {
    sending = false;
    for (int index = Irqs.MSI; kernelForgets && index < KINDS; index++) {
      disable(index);
    }
  }

  /** The ledger of a vector that is armed now. */
  @Nullable Ledger ledger(int index, int vector) {
    Slot slot = slots[index][vector];
    synchronized (slot) {
      return slot.fd < 0 ? null : slot.ledger;
    }
  }

  /** How many vectors an index has. */
  int vectors(int index) {
    return slots[index].length;
  }

  /** Forgets a ledger whose vector is disarmed. */
  void release(Ledger ledger) {
    if (ledgers.remove(ledger)) {
      Syscalls.close(ledger.reference);
    }
  }

  // ---- the table

  @Override
  public String name() {
    return name;
  }

  @Override
  public Mono<DeviceInfo> deviceInfo() {
    return Mono.just(new DeviceInfo(DeviceInfo.FLAG_PCI, 9, 5, List.of()));
  }

  @Override
  public Mono<IrqInfo> irqInfo(int index) {
    return index < KINDS ? Mono.just(infos[index]) : Mono.error(failure(Errno.EINVAL));
  }

  @Override
  public Mono<Integer> setIrqs(IrqSet request) {
    return Mono.fromCallable(() -> answer(request)).subscribeOn(Schedulers.boundedElastic());
  }

  private synchronized int answer(IrqSet request) {
    int index = request.index();
    if (index >= KINDS || request.start() + request.count() > infos[index].count()) {
      throw failure(Errno.EINVAL);
    }
    if (request.action() != IrqSet.Action.TRIGGER) {
      maskOrUnmask(request);
    } else if (request.data() == IrqSet.Data.EVENTFD) {
      assign(request);
    } else if (request.count() == 0) {
      if (allocated[index] == 0) {
        throw failure(Errno.EINVAL);
      }
      disable(index);
    } else {
      fire(request);
    }
    return 0;
  }

  private void assign(IrqSet request) {
    int index = request.index();
    for (int other = 0; other < KINDS; other++) {
      if (other != index && allocated[other] > 0) {
        throw failure(Errno.EINVAL);
      }
    }
    int needed = request.start() + request.count();
    int had = allocated[index];
    if (had > 0 && needed > had && !infos[index].resizable()) {
      throw failure(Errno.EINVAL);
    }
    if (had == 0) {
      sending = true;
    }
    for (int i = 0; i < request.count(); i++) {
      connect(index, request.start() + i, request.eventfd(i));
    }
    allocated[index] = Math.max(had, needed);
  }

  private void connect(int index, int vector, int fd) {
    Slot slot = slots[index][vector];
    int copy = fd < 0 ? -1 : duplicate(fd);
    synchronized (slot) {
      disconnect(slot);
      if (copy < 0) {
        return;
      }
      slot.fd = copy;
      Ledger former = slot.ledger;
      long id = TestEventFds.id(copy);
      // The same eventfd again is the same arming: it was a set that was made larger, or restored.
      if (former == null || former.eventFd != id || !ledgers.contains(former)) {
        Ledger ledger = new Ledger(index, vector, id, duplicate(copy), vector >= gatedBelow);
        ledgers.add(ledger);
        if (former != null) {
          release(former);
        }
        slot.ledger = ledger;
      }
      if (index == Irqs.INTX) {
        masked = false;
      }
    }
  }

  private int duplicate(int fd) {
    int copy = Syscalls.duplicate(fd);
    if (copy < 0) {
      throw failure(-copy);
    }
    return copy;
  }

  private static void disconnect(Slot slot) {
    if (slot.fd >= 0) {
      Syscalls.close(slot.fd);
      slot.fd = -1;
    }
  }

  private void disable(int index) {
    for (Slot slot : slots[index]) {
      synchronized (slot) {
        disconnect(slot);
        if (index == Irqs.INTX) {
          masked = false;
          unmaskBy(-1);
        }
      }
    }
    allocated[index] = 0;
  }

  private void fire(IrqSet request) {
    if (allocated[request.index()] == 0) {
      throw failure(Errno.EINVAL);
    }
    for (int i = 0; i < request.count(); i++) {
      Slot slot = slots[request.index()][request.start() + i];
      synchronized (slot) {
        if (slot.fd >= 0) {
          write(forLoopback, slot, slot.ledger, 1);
        }
      }
    }
  }

  private void maskOrUnmask(IrqSet request) {
    if (request.index() != Irqs.INTX) {
      throw failure(Errno.ENOTTY);
    }
    if (allocated[Irqs.INTX] == 0) {
      throw failure(Errno.EINVAL);
    }
    synchronized (slots[Irqs.INTX][0]) {
      if (request.data() != IrqSet.Data.EVENTFD) {
        masked = request.action() == IrqSet.Action.MASK;
      } else if (unmaskedByEventFd) {
        unmaskBy(duplicate(request.eventfd(0)));
      } else {
        throw new NotSupportedException("SET_IRQS", name, Errno.ENOTTY, "no", "ask for UNMASK");
      }
    }
  }

  private void unmaskBy(int fd) {
    if (unmaskBy >= 0) {
      Syscalls.close(unmaskBy);
    }
    unmaskBy = fd;
  }

  @Override
  public Mono<RegionInfo> regionInfo(int index) {
    return index == Regions.CONFIG
        ? Mono.just(
            new RegionInfo(index, RegionInfo.FLAG_READ | RegionInfo.FLAG_WRITE, 256, 0, List.of()))
        : Mono.error(failure(Errno.EINVAL));
  }

  @Override
  public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
    return Mono.fromSupplier(() -> {
      int n = 0;
      for (; destination.hasRemaining() && offset + n < 256; n++) {
        destination.put(config((int) offset + n));
      }
      return n;
    });
  }

  /** A list of two capabilities, both of which say whether messages are on. */
  private byte config(int offset) {
    boolean msi = sending && allocated[Irqs.MSI] > 0;
    boolean msix = sending && allocated[Irqs.MSIX] > 0;
    return (byte)
        switch (offset) {
          case 0x06 -> 1 << 4;
          case 0x34 -> MSI_CAPABILITY;
          case MSI_CAPABILITY -> 0x05;
          case MSI_CAPABILITY + 1 -> MSIX_CAPABILITY;
          case MSI_CAPABILITY + 2 -> msi ? 1 : 0;
          case MSIX_CAPABILITY -> 0x11;
          case MSIX_CAPABILITY + 3 -> msix ? 1 << 7 : 0;
          default -> 0;
        };
  }

  @Override
  public Mono<Integer> write(int region, long offset, ByteBuffer source) {
    return Mono.error(failure(Errno.EPERM));
  }

  @Override
  public Mono<MappedRegion> map(int region, long offset, long size) {
    return Mono.error(failure(Errno.EINVAL));
  }

  @Override
  public Mono<Void> reset() {
    return Mono.error(failure(Errno.ENOTTY));
  }

  @Override
  public Mono<DmaInfo> dmaInfo() {
    return Mono.error(failure(Errno.ENOTTY));
  }

  @Override
  public Mono<Void> mapDma(DmaMapping mapping) {
    return Mono.error(failure(Errno.ENOTTY));
  }

  @Override
  public Mono<Long> unmapDma(long iova, long size) {
    return Mono.error(failure(Errno.ENOTTY));
  }

  @Override
  public Mono<Void> close() {
    return Mono.fromRunnable(this::disableAll);
  }

  private synchronized void disableAll() {
    for (int index = 0; index < KINDS; index++) {
      disable(index);
    }
    ledgers.forEach(this::release);
  }

  private VfioException failure(int errno) {
    return new VfioException("VFIO_DEVICE_SET_IRQS", name, errno, "refused", "see the soak");
  }
}
