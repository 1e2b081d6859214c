package org.reactorvfio.samples.nvme;

/** The names of status codes (NVMe 1.4, 4.6.1), for messages. */
final class StatusCodes {
  static final int ABORT_REQUESTED = 0x07;
  static final int QUEUE_DELETED = 0x08;

  private StatusCodes() {}

  static String name(int type, int code) {
    return switch (type) {
      case 0 -> generic(code);
      case 1 -> ofCommand(code);
      case 2 -> ofMedium(code);
      default -> type == 7 ? "an error of the vendor's own" : "an error";
    };
  }

  private static String generic(int code) {
    return switch (code) {
      case 0x01 -> "invalid opcode";
      case 0x02 -> "invalid field";
      case 0x03 -> "command id conflict";
      case 0x04 -> "data transfer error";
      case 0x06 -> "internal error";
      case ABORT_REQUESTED -> "aborted as asked for";
      case QUEUE_DELETED -> "submission queue deleted";
      case 0x0b -> "invalid namespace or format";
      case 0x13 -> "invalid offset in a page";
      case 0x20 -> "namespace is write protected";
      case 0x80 -> "block address out of range";
      case 0x81 -> "capacity exceeded";
      case 0x82 -> "namespace not ready";
      default -> "generic error";
    };
  }

  private static String ofCommand(int code) {
    return switch (code) {
      case 0x00 -> "no such completion queue";
      case 0x01 -> "invalid queue identifier";
      case 0x02 -> "invalid queue size";
      case 0x03 -> "too many aborts at a time";
      case 0x08 -> "invalid interrupt vector";
      case 0x0c -> "a completion queue that is still used";
      case 0x80 -> "conflicting attributes";
      case 0x82 -> "write to a range that is only for reading";
      default -> "error of this command";
    };
  }

  private static String ofMedium(int code) {
    return switch (code) {
      case 0x80 -> "write fault";
      case 0x81 -> "unrecovered read error";
      case 0x85 -> "comparison failed";
      case 0x86 -> "access denied";
      case 0x87 -> "block never written";
      default -> "error of the medium";
    };
  }
}
