package org.reactorvfio.operations;

/** The features of a device, as {@code linux/vfio.h} numbers them. Which of them a device has is found out by probing. */
public final class Features {
  /** Sets the token that ties VFs to the owner of their PF: 16 bytes, a UUID in its written order. SET. */
  public static final int PCI_VF_TOKEN = 0;

  /** What the device can do towards its migration: 8 bytes of flags. GET. */
  public static final int MIGRATION = 1;

  /** The state of the device's migration. GET and SET. */
  public static final int MIG_DEVICE_STATE = 2;

  /** Lets the device sleep until something uses it. No data. SET. */
  public static final int LOW_POWER_ENTRY = 3;

  /** As {@link #LOW_POWER_ENTRY}, with an eventfd (4 bytes, and 4 reserved) that tells when the host wakes it. SET. */
  public static final int LOW_POWER_ENTRY_WITH_WAKEUP = 4;

  /** Ends the sleep. No data. SET. */
  public static final int LOW_POWER_EXIT = 5;

  /** Begins to note which memory the device writes. SET; its data has an address in it. */
  public static final int DMA_LOGGING_START = 6;

  /** Ends that. No data. SET. */
  public static final int DMA_LOGGING_STOP = 7;

  /** Tells which memory the device has written. GET; its data has an address in it. */
  public static final int DMA_LOGGING_REPORT = 8;

  /** An estimate of the migration data that is left: 8 bytes. GET. */
  public static final int MIG_DATA_SIZE = 9;

  /** Bus mastering of a device that is not PCI: 4 bytes, 0 or 1. SET. */
  public static final int BUS_MASTER = 10;

  /** A region's memory as a dma-buf. GET; the answer is a descriptor. */
  public static final int DMA_BUF = 11;

  /** Has the information on pre-copying say more. No data. SET. */
  public static final int MIG_PRECOPY_INFO_V2 = 12;

  /**
   * The next error that an s390 machine has reported of a PCI function, in the length that the device's info gives. GET; ENOMSG if
   * there is none.
   */
  public static final int ZPCI_ERROR = 13;

  private static final String[] NAMES = {
    "PCI_VF_TOKEN",
    "MIGRATION",
    "MIG_DEVICE_STATE",
    "LOW_POWER_ENTRY",
    "LOW_POWER_ENTRY_WITH_WAKEUP",
    "LOW_POWER_EXIT",
    "DMA_LOGGING_START",
    "DMA_LOGGING_STOP",
    "DMA_LOGGING_REPORT",
    "MIG_DATA_SIZE",
    "BUS_MASTER",
    "DMA_BUF",
    "MIG_PRECOPY_INFOv2",
    "ZPCI_ERROR"
  };

  private Features() {}

  /**
   * Returns a feature's name.
   *
   * @param feature the number
   * @return the header's name, or the number
   */
  public static String name(int feature) {
    return feature >= 0 && feature < NAMES.length ? NAMES[feature] : "feature " + feature;
  }
}
