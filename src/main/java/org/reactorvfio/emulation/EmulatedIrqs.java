package org.reactorvfio.emulation;

import static org.reactorvfio.linux.Errno.*;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.EventFdWatch;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.Irqs;

/**
 * VFIO_DEVICE_SET_IRQS as vfio-pci answers it ({@code vfio_pci_intrs.c}): the same order of checks, the same error numbers, the
 * same effects of a failure. Guarded by the device's lock.
 */
final class EmulatedIrqs {
  private static final String CALL = "VFIO_DEVICE_SET_IRQS";
  private static final int NONE = -1;

  private final IrqInfo[] infos;
  private final int availableVectors;
  private final Object lock;
  private final Runnable onMessagesChange;
  private final boolean resizable;

  /** Which of INTx, MSI and MSI-X is enabled, {@link #NONE} if none is. */
  private int type = NONE;

  private @Nullable EventFd[] vectors = new EventFd[0];
  private final @Nullable EventFd[] singles = new EventFd[Irqs.REQ + 1];

  private boolean asserted;
  private boolean masked;
  private boolean lineDisabled;
  private boolean busMaster;
  private boolean msiOn;
  private @Nullable EventFdWatch unmask;

  EmulatedIrqs(EmulatedDevice.Builder spec, Object lock, Runnable onMessagesChange) {
    this.lock = lock;
    this.onMessagesChange = onMessagesChange;
    this.resizable = spec.resizable;
    this.availableVectors = spec.availableVectors;
    int eventfd = IrqInfo.FLAG_EVENTFD;
    int fixed = eventfd | IrqInfo.FLAG_NORESIZE;
    this.infos = new IrqInfo[] {
      new IrqInfo(
          Irqs.INTX, eventfd | IrqInfo.FLAG_MASKABLE | IrqInfo.FLAG_AUTOMASKED, spec.intx ? 1 : 0),
      new IrqInfo(Irqs.MSI, fixed, spec.msi),
      new IrqInfo(Irqs.MSIX, spec.resizable && spec.msix > 0 ? eventfd : fixed, spec.msix),
      new IrqInfo(Irqs.ERR, fixed, 1),
      new IrqInfo(Irqs.REQ, fixed, 1)
    };
  }

  IrqInfo info(int index) throws LinuxException {
    if (index < 0 || index >= infos.length) {
      throw new LinuxException("VFIO_DEVICE_GET_IRQ_INFO", EINVAL);
    }
    return infos[index];
  }

  /** Answers a request: 0, or how many vectors there are. */
  int set(IrqSet request) throws LinuxException {
    int index = request.index();
    if (index >= infos.length
        || request.start() >= infos[index].count()
        || request.start() + request.count() > infos[index].count()) {
      throw new LinuxException(CALL, EINVAL);
    }
    return switch (index) {
      case Irqs.INTX -> setIntx(request);
      case Irqs.MSI, Irqs.MSIX -> setMessage(request);
      default -> setSingle(request);
    };
  }

  // ---- INTx

  private int setIntx(IrqSet request) throws LinuxException {
    return switch (request.action()) {
      case TRIGGER -> triggerIntx(request);
      case MASK -> {
        requireLine(request);
        if (request.data() == IrqSet.Data.EVENTFD) {
          throw new LinuxException(CALL, ENOTTY);
        }
        if (applies(request, 0)) {
          masked = true;
        }
        yield 0;
      }
      case UNMASK -> {
        requireLine(request);
        if (request.data() == IrqSet.Data.EVENTFD) {
          unmaskBy(request.eventfd(0));
        } else if (applies(request, 0)) {
          unmaskLine();
        }
        yield 0;
      }
    };
  }

  private void requireLine(IrqSet request) throws LinuxException {
    if (type != Irqs.INTX || request.start() != 0 || request.count() != 1) {
      throw new LinuxException(CALL, EINVAL);
    }
  }

  private int triggerIntx(IrqSet request) throws LinuxException {
    if (type == Irqs.INTX && request.count() == 0 && request.data() == IrqSet.Data.NONE) {
      disableIntx();
      return 0;
    }
    if ((type != Irqs.INTX && type != NONE) || request.start() != 0 || request.count() != 1) {
      throw new LinuxException(CALL, EINVAL);
    }
    if (request.data() == IrqSet.Data.EVENTFD) {
      EventFd trigger = adopt(request.eventfd(0));
      if (type == NONE) {
        type = Irqs.INTX;
        vectors = new EventFd[1];
        masked = lineDisabled;
      }
      replace(0, trigger);
      evaluateLine();
      return 0;
    }
    if (type != Irqs.INTX) {
      throw new LinuxException(CALL, EINVAL);
    }
    // The loopback ignores the mask, but not the disable bit of the command register.
    if (applies(request, 0) && !lineDisabled) {
      signal(vectors[0]);
    }
    return 0;
  }

  private void disableIntx() {
    replace(0, null);
    dropUnmask();
    vectors = new EventFd[0];
    type = NONE;
  }

  private void unmaskBy(int fd) throws LinuxException {
    if (fd < 0) {
      dropUnmask();
      return;
    }
    EventFd eventFd = adopt(fd);
    if (eventFd == null) {
      return;
    }
    if (unmask != null) {
      eventFd.close();
      throw new LinuxException(CALL, EBUSY);
    }
    unmask = EventFdWatch.start(EmulatedDevice.LOOP, eventFd, (watch, count) -> {
      synchronized (lock) {
        if (unmask == watch) {
          unmaskLine();
        }
      }
    });
  }

  private void dropUnmask() {
    EventFdWatch watch = unmask;
    unmask = null;
    if (watch != null) {
      watch.end();
    }
  }

  /** Has no effect while the command register disables the line: then the bit decides. */
  private void unmaskLine() {
    if (!lineDisabled) {
      masked = false;
      evaluateLine();
    }
  }

  /** A line that is asserted and may be seen is signalled once, and masked with that. */
  private void evaluateLine() {
    if (type == Irqs.INTX && asserted && !masked) {
      masked = true;
      signal(vectors[0]);
    }
  }

  /** The device drives its line. */
  void assertLine(boolean high) {
    asserted = high;
    evaluateLine();
  }

  /** The command register's interrupt disable bit: setting it masks the line, clearing it unmasks, whoever had masked. */
  void disableLine(boolean disabled) {
    if (disabled == lineDisabled) {
      return;
    }
    lineDisabled = disabled;
    if (disabled) {
      masked = true;
    } else {
      unmaskLine();
    }
  }

  /** The command register's bus master bit: messages are memory writes. */
  void busMaster(boolean enabled) {
    busMaster = enabled;
  }

  /** The enable bit of the MSI capability, which the driver may clear and set while SET_IRQS has MSI enabled. */
  void msiOn(boolean on) {
    msiOn = on;
  }

  // ---- MSI and MSI-X

  private int setMessage(IrqSet request) throws LinuxException {
    if (request.action() != IrqSet.Action.TRIGGER) {
      throw new LinuxException(CALL, ENOTTY);
    }
    boolean enabled = type == request.index();
    if (enabled && request.count() == 0 && request.data() == IrqSet.Data.NONE) {
      disableMessages();
      return 0;
    }
    if (!enabled && type != NONE) {
      throw new LinuxException(CALL, EINVAL);
    }
    if (request.data() == IrqSet.Data.EVENTFD) {
      return enabled ? assign(request) : enableMessages(request);
    }
    if (!enabled) {
      throw new LinuxException(CALL, EINVAL);
    }
    for (int i = 0; i < request.count(); i++) {
      int vector = request.start() + i;
      if (applies(request, i) && vector < vectors.length) {
        signal(vectors[vector]);
      }
    }
    return 0;
  }

  private int enableMessages(IrqSet request) throws LinuxException {
    int needed = request.start() + request.count();
    if (needed == 0) {
      throw new LinuxException(CALL, ERANGE);
    }
    if (availableVectors == 0) {
      throw new LinuxException(CALL, ENOSPC);
    }
    if (needed > availableVectors) {
      return availableVectors;
    }
    type = request.index();
    vectors = new EventFd[needed];
    // PCI 3.0, 6.8.3.3: a function that uses messages does not use its line.
    asserted = false;
    try {
      assign(request);
    } catch (LinuxException e) {
      disableMessages();
      throw e;
    }
    onMessagesChange.run();
    return 0;
  }

  private int assign(IrqSet request) throws LinuxException {
    if (!resizable && request.start() + request.count() > vectors.length) {
      // Kernels before 6.5 look at the whole range first.
      throw new LinuxException(CALL, EINVAL);
    }
    for (int i = 0; i < request.count(); i++) {
      try {
        assign(request.start() + i, request.eventfd(i));
      } catch (LinuxException e) {
        // The kernel tears down the whole block up to the failing one, vectors that were good
        // before included.
        for (int j = 0; j < i; j++) {
          assign(request.start() + j, NONE);
        }
        throw e;
      }
    }
    return 0;
  }

  /** Lets the former eventfd go before it looks at the new one. */
  private void assign(int vector, int fd) throws LinuxException {
    if (vector < vectors.length) {
      replace(vector, null);
    }
    if (fd < 0) {
      return;
    }
    if (vector >= vectors.length) {
      if (!infos[type].resizable()) {
        throw new LinuxException(CALL, EINVAL);
      }
      if (vector >= availableVectors) {
        throw new LinuxException(CALL, ENOSPC);
      }
      vectors = Arrays.copyOf(vectors, vector + 1);
    }
    replace(vector, adopt(fd));
  }

  private void disableMessages() {
    for (int i = 0; i < vectors.length; i++) {
      replace(i, null);
    }
    vectors = new EventFd[0];
    type = NONE;
    onMessagesChange.run();
  }

  /** The device sends a message. Returns whether a vector was there to take it. */
  boolean message(int index, int vector) {
    if (vector < 0 || vector >= infos[index].count()) {
      throw new IllegalArgumentException(
          Irqs.name(index) + " vector " + vector + " is not in 0.." + (infos[index].count() - 1));
    }
    return busMaster
        && type == index
        && (index != Irqs.MSI || msiOn)
        && vector < vectors.length
        && signal(vectors[vector]);
  }

  /** Whether SET_IRQS has this index enabled. */
  boolean enabled(int index) {
    return type == index;
  }

  // ---- ERR and REQ

  private int setSingle(IrqSet request) throws LinuxException {
    int index = request.index();
    if (request.action() != IrqSet.Action.TRIGGER) {
      throw new LinuxException(CALL, ENOTTY);
    }
    if (request.start() != 0 || request.count() > 1) {
      throw new LinuxException(CALL, EINVAL);
    }
    EventFd present = singles[index];
    switch (request.data()) {
      case NONE -> {
        if (present == null) {
          throw new LinuxException(CALL, EINVAL);
        }
        if (request.count() > 0) {
          signal(present);
        } else {
          replaceSingle(index, null);
        }
      }
      case BOOL -> {
        if (request.count() == 0) {
          throw new LinuxException(CALL, EINVAL);
        }
        if (request.flag(0)) {
          signal(present);
        }
      }
      case EVENTFD -> {
        if (request.count() == 0 || request.eventfd(0) < -1) {
          throw new LinuxException(CALL, EINVAL);
        }
        replaceSingle(index, adopt(request.eventfd(0)));
      }
    }
    return 0;
  }

  private void replaceSingle(int index, @Nullable EventFd eventFd) {
    EventFd former = singles[index];
    singles[index] = eventFd;
    if (former != null) {
      former.close();
    }
  }

  /** Signals ERR or REQ. Returns whether somebody listens. */
  boolean single(int index) {
    return signal(singles[index]);
  }

  // ---- common

  /** The device is closed: everything is disabled and let go. */
  void close() {
    if (type == Irqs.INTX) {
      disableIntx();
    } else if (type != NONE) {
      disableMessages();
    }
    replaceSingle(Irqs.ERR, null);
    replaceSingle(Irqs.REQ, null);
    masked = false;
    lineDisabled = false;
  }

  private void replace(int vector, @Nullable EventFd eventFd) {
    EventFd former = vectors[vector];
    vectors[vector] = eventFd;
    if (former != null) {
      former.close();
    }
  }

  private static @Nullable EventFd adopt(int fd) throws LinuxException {
    return fd < 0 ? null : EventFd.duplicate(fd);
  }

  private static boolean signal(@Nullable EventFd eventFd) {
    return eventFd != null && eventFd.signal() == 0;
  }

  private static boolean applies(IrqSet request, int i) {
    return request.data() == IrqSet.Data.NONE || request.flag(i);
  }
}
